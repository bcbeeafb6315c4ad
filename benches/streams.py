#!/usr/bin/env python3
"""How soon many open pages hear of a change, and what an open page costs. Standard library only.

    cargo build --release && benches/streams.py --streams 1000
    benches/streams.py --streams 1,100,1000,10000 --rounds 3 --storms 0 --out target/streams-bench.json    # for plots.py

Starts a service of its own in a temporary folder, opens the streams from one process, and then kills, restores and
ramps a flag. Times count from the moment at which the change was asked for: its answer may come after many pages heard of it.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import tempfile
import time

ADMIN = "bench-admin-key-0123456789abcdefghijklm"
FLAG = "/v1/environments/production/flags/bench"


class Page(asyncio.Protocol):
    """One open page: when it heard which number."""

    def __init__(self, request, pages):
        self.request, self.pages, self.heard, self.text = request, pages, {}, b""

    def connection_made(self, transport):
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data):
        now = time.perf_counter()
        self.text += data
        for line in self.text.split(b"\n"):
            if line.startswith(b"id: "):
                self.heard.setdefault(int(line[4:]), now)
        self.text = self.text[-200:]
        self.pages.told()

    def connection_lost(self, error):
        self.pages.lost += 1


class Pages:
    """All open pages of this process."""

    def __init__(self, host, port, key):
        self.host, self.port, self.lost, self.all = host, port, 0, []
        head = f"GET /v1/stream HTTP/1.1\r\nHost: h\r\nX-API-Key: {key}\r\n\r\n"
        self.request, self.news = head.encode(), asyncio.Event()

    def told(self):
        self.news.set()

    async def open(self, count):
        loop, gate = asyncio.get_running_loop(), asyncio.Semaphore(200)

        async def one():
            async with gate:
                _, page = await loop.create_connection(lambda: Page(self.request, self), self.host, self.port)
                self.all.append(page)
                while not page.heard:
                    await asyncio.sleep(0.001)

        await asyncio.gather(*(one() for _ in range(count)))

    async def hear(self, number):
        """When each page heard of `number`."""
        while not all(number in page.heard for page in self.all):
            self.news.clear()
            await asyncio.wait_for(self.news.wait(), 20)
        return sorted(page.heard[number] for page in self.all)

    def abort(self):
        for page in self.all:
            page.transport.abort()
        self.all = []


async def call(host, port, method, path, body=None, headers=()):
    """One management call: its JSON, when it was asked, and when the answer was there."""
    text = json.dumps(body).encode() if body is not None else b""
    lines = [f"{method} {path} HTTP/1.1", "Host: h", f"Authorization: Bearer {ADMIN}", "Connection: close",
             "Content-Type: application/json", f"Content-Length: {len(text)}", *headers]
    reader, writer = await asyncio.open_connection(host, port)
    asked = time.perf_counter()
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + text)
    answer = await reader.read()
    at = time.perf_counter()
    writer.close()
    head, _, rest = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert status < 300, answer
    return json.loads(rest), (asked, at)


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def line(what, times, call):
    asked, answered = call
    after = [(at - asked) * 1000 for at in times]
    share = lambda part: after[min(len(after) - 1, int(len(after) * part))]
    print(f"  {what:12} answered after {(answered - asked) * 1000:7.1f} ms; heard: first {after[0]:7.1f}   median {share(0.5):7.1f}"
          f"   99 % {share(0.99):7.1f}   last {after[-1]:7.1f} ms")
    return after[-1], share(0.99)


async def measure(host, port, pid, args, streams):
    document = {"key": "bench", "value_type": "boolean", "variants": {"off": False, "on": True}, "off_variant": "off",
                "rules": [{"id": "ramp", "serve": {"rollout": {"percent": 5}}}]}
    flag, _ = await call(host, port, "PUT", FLAG, document, ["If-None-Match: *"])
    version = flag["version"]
    pages = Pages(host, port, ADMIN)
    before = resident_kib(pid)
    began = time.perf_counter()
    await pages.open(streams)
    took = time.perf_counter() - began
    await asyncio.sleep(1)
    open_kib = resident_kib(pid)
    print(f"{streams} streams opened in {took:.2f} s; resident {before} -> {open_kib} KiB,"
          f" {(open_kib - before) / streams:.1f} KiB a stream")
    number = max(max(page.heard) for page in pages.all)
    last = {"kill": [], "restore": [], "ramp": []}
    for turn in range(args.rounds):
        for name, body in [("kill", {}), ("restore", {}), ("ramp", {"percent": 6 + turn})]:
            path = f"{FLAG}/{'rollout' if name == 'ramp' else name}"
            flag, times = await call(host, port, "POST", path, body, [f'If-Match: "{version}"'])
            version, number = flag["version"], number + 1
            last[name].append(line(f"{name} {turn + 1}", await pages.hear(number), times))
    for name, heard in last.items():
        latest = statistics.median(late for late, _ in heard)
        print(f"{name}: the last page heard {latest:.0f} ms after it was asked (median of {args.rounds} rounds)")
    for _ in range(args.storms):
        pages.abort()
        began = time.perf_counter()
        await pages.open(streams)
        took = time.perf_counter() - began
        print(f"all aborted and back in {took:.2f} s; resident {resident_kib(pid)} KiB")
    began = time.perf_counter()
    os.kill(pid, signal.SIGTERM)
    pages.lost = 0
    while pages.lost < streams:
        await asyncio.sleep(0.01)
    print(f"SIGTERM: all streams ended after {time.perf_counter() - began:.2f} s")
    return {
        "streams": streams,
        "kib_a_stream": (open_kib - before) / streams,
        "p99_ms": {name: statistics.median(late for _, late in heard) for name, heard in last.items()},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default="target/release/huidu")
    parser.add_argument("--streams", default="1000", help="how many; several numbers with commas: one after the other, each with a service of its own")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--storms", type=int, default=3, help="how often all streams are aborted and opened again")
    parser.add_argument("--out", help="where to write what was measured, as JSON")
    args = parser.parse_args()
    measured = [serve(os.path.abspath(args.binary), args, int(streams)) for streams in args.streams.split(",")]
    if args.out:
        with open(args.out, "w") as out:
            json.dump(measured, out, indent=2)


def serve(binary, args, streams):
    """What `streams` of them see of a service of their own."""
    with tempfile.TemporaryDirectory() as folder:
        room = str(2 * streams)
        env = {"HUIDU_DATA_DIR": folder, "HUIDU_LISTEN": "127.0.0.1:0", "HUIDU_BOOTSTRAP_ADMIN_KEY": ADMIN,
               "HUIDU_STREAMS_MAX": room, "HUIDU_STREAMS_PER_KEY_MAX": room, "HUIDU_LOG": "warn"}
        server = subprocess.Popen([binary, "serve"], cwd=folder, env=env, stdout=subprocess.PIPE, text=True)
        try:
            host, port = server.stdout.readline().rsplit("http://", 1)[1].strip().split(":")
            while server.stdout.readline().strip()[:3] != "-d ":
                pass
            measured = asyncio.run(measure(host, int(port), server.pid, args, streams))
            began = time.perf_counter()
            server.wait(20)
            print(f"... and the process {time.perf_counter() - began:.2f} s later")
            return measured
        finally:
            server.kill()


if __name__ == "__main__":
    main()
