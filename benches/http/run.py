#!/usr/bin/env python3
"""Measures huidu beside the limit of the machine, in one run, on two cores: the server on one, wrk on the other.

    cargo build --release --bin huidu --example limit
    benches/http/run.py [--seconds 4] [--repetitions 3] [--only NAME] [--out target/http-bench]

Needs wrk (Debian: wrk) and taskset. For each case the limit and huidu are driven in turn, so many times; the median counts, with
the least and the most beside it. R is requests a second over the limit's. Writes OUT.md and OUT.json. With HUIDU_DATABASE_URL
of an empty PostgreSQL database, `--only events` measures that.
"""

import argparse
import collections
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / os.environ.get("BENCH_PROFILE", "release")
ADMIN = "bench-admin-key-0123456789abcdefghij"
SERVER_CORE, CLIENT_CORE = "0", "1"
TICKS = os.sysconf("SC_CLK_TCK")
# What this program itself does beside decisions is not to delay wrk, which takes the times on the same core.
FIRST = ["nice", "-n", "-5"] if os.geteuid() == 0 else []

# Name, events a request, connections.
INGEST = [("events, 100 a request", 100, 8), ("events, one a request", 1, 512)]
SERIES = 10_000
EVENTS_A_BATCH = 100
# One that waits for each answer makes no hundred changes a second where decisions want all of the core.
CHANGERS = 2

GOODS = [
    {"id": "g-1", "category": "shoes", "merchant": "m-7", "price": 45900, "quantity": 1},
    {"id": "g-2", "category": "books", "merchant": "m-9", "price": 3900, "quantity": 1},
]
ORDER = {"id": "o-20261124-1", "amount": 49800, "currency": "CNY"}
TESTER = {"id": "tester-1", "app_version": "10.9.1", "region": "CN-31"}


def realistic(number):
    """A flag as a shop has many: versions, regions, a percentage with its control."""
    return {
        "key": f"feature-{number}",
        "value_type": "boolean",
        "variants": {"off": False, "on": True},
        "off_variant": "off",
        "rules": [
            {"id": "staff", "when": {"audience": "wechat-testers"}, "serve": {"variant": "on"}},
            {
                "id": "ramp",
                "when": {
                    "all_of": [
                        {"attribute": "user.app_version", "op": "semver_gte", "value": "10.0.0"},
                        {"not": {"attribute": "user.region", "op": "in", "value": ["HK", "MO", "TW"]}},
                    ]
                },
                "serve": {"rollout": {"percent": 95, "control": 5}},
            },
        ],
    }


class Server:
    """A server process pinned to its core."""

    def __init__(self, command, environment):
        environment = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
        self.process = subprocess.Popen(
            ["taskset", "-c", SERVER_CORE, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        self.said = self.process.stdout.readline()
        self.url = re.search(r"http://\S+", self.said).group(0)

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_mib(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def huidu(folder, settings, program=None):
    """A service of its own, with the keys that its first start shows."""
    environment = {"HUIDU_BOOTSTRAP_ADMIN_KEY": ADMIN, "HUIDU_DATA_DIR": str(folder), "HUIDU_LISTEN": "127.0.0.1:0", "HUIDU_WORKERS": "1"}
    server = Server([*(program or [str(TARGET / "huidu")]), "serve"], environment | settings)
    server.keys, server.sent = {}, collections.Counter()
    # Only a first start says its keys; another one says nothing more.
    silent = threading.Timer(20, server.process.kill)
    silent.start()
    for line in server.process.stdout:
        found = re.search(r"huidu_(client|server)_\w+", line)
        if found and found.group(1) not in server.keys:
            server.keys[found.group(1)] = found.group(0)
        if line.lstrip().startswith("-d '"):
            break
    silent.cancel()
    if "client" not in server.keys:
        sys.exit("huidu shows no keys: this is not its first start on this database")
    for _ in range(1000):
        try:
            urllib.request.urlopen(server.url + "/readyz")
            return server
        except OSError:
            time.sleep(0.01)
    sys.exit("huidu is not ready")


def call(server, method, path, key, body, headers=None):
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(request) as answer:
        return answer.read(), answer.headers


def entries_of_both(server):
    """A body of `/v1/decisions` for which both entries take both goods. Salts differ from start to start: without a search it
    would be answered with one token at some starts and with two at others."""
    taken = []
    for number in range(1, 200):
        goods = GOODS[len(taken)] | {"id": f"g-{number}"}
        body = {"placement": "checkout", "user": TESTER, "order": {**ORDER, "goods": [*taken, goods]}}
        answer = json.loads(call(server, "POST", "/v1/decisions", server.keys["client"], body)[0])
        if all(len(entry["goods"]["eligible"]) == len(taken) + 1 for entry in answer["entries"]):
            taken.append(goods)
        if len(taken) == len(GOODS):
            return json.dumps(body)
    sys.exit("no two goods are taken by both entries")


def wrk(url, seconds, connections, script):
    """Requests a second, the 99th percentile in ms, and how many answers were no success."""
    command = [*FIRST, "taskset", "-c", CLIENT_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script, url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", said).group(1))
    value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)\b", said).groups()
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    errors = re.search(r"Socket errors: (.*)", said)
    return {
        "rate": rate,
        "p99_ms": float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit],
        "refused": int(refused.group(1)) if refused else 0,
        "errors": errors.group(1) if errors else "",
    }


def lua(folder, name, path, headers, body):
    """A script of wrk for one request, again and again."""
    lines = [f'wrk.method = "POST"', f"wrk.body = [==[{body}]==]", f'wrk.path = "{path}"']
    lines += [f'wrk.headers["{key}"] = [==[{value}]==]' for key, value in headers.items()]
    file = Path(folder) / f"{name}.lua"
    file.write_text("\n".join(lines) + "\n")
    return str(file)


def events_lua(folder, name, key, events):
    """A script that sends `events` new metric steps a request."""
    file = Path(folder) / f"{name}.lua"
    file.write_text(
        f"""
local n = 0
local seed = os.time() * 1000
function request()
  local parts = {{}}
  for i = 1, {events} do
    n = n + 1
    parts[i] = string.format('{{"id":"e-%d-%d","type":"step","step":"order_paid","user_id":"u-%d","order_id":"o-%d","value":45900,"currency":"CNY"}}', seed, n, (n * 7919) % 1000000, n)
  end
  return wrk.format("POST", "/v1/events", {{["Authorization"] = "Bearer {key}", ["Content-Type"] = "application/json"}}, '{{"events":[' .. table.concat(parts, ",") .. ']}}')
end
"""
    )
    return str(file)


def cases(server, strict, folder):
    """Name, server, script, bytes of the limit's answer, connections, whether refusals are meant."""
    client = {"Authorization": f"Bearer {server.keys['client']}", "Content-Type": "application/json"}
    tester = {"targetingKey": "tester-1", "app_version": "10.9.1", "region": "CN-31", "order": ORDER, "goods": GOODS}
    shopper = {**tester, "targetingKey": "u-4711"}
    single = json.dumps({"context": tester})
    decisions = entries_of_both(server)
    bulk = json.dumps({"context": shopper})
    answer, headers = call(server, "POST", "/ofrep/v1/evaluate/flags", server.keys["client"], json.loads(bulk))
    tokens = answer.count(b"exposureToken")
    print(f"bulk: {len(answer)} bytes, {tokens} tokens")
    etag = headers["ETag"]
    one = "/ofrep/v1/evaluate/flags/wechat-scan-pay"
    many = "/ofrep/v1/evaluate/flags"
    wrong = {**client, "Authorization": "Bearer huidu_client_wrong"}
    plain = lambda name, path, head, body, of=server: (name, of, lua(folder, name, path, head, body))
    big = json.dumps({"context": {"targetingKey": "u-1", "x": "y" * 70_000}})
    return [
        (*plain("ofrep single", one, client, single), 300, 64, False, single),
        (*plain("decisions", "/v1/decisions", client, decisions), 300, 64, False, decisions),
        (*plain("ofrep bulk", many, client, bulk), len(answer), 64, False, bulk),
        (*plain("ofrep bulk 304", many, {**client, "If-None-Match": etag}, bulk), 300, 64, False, bulk),
        (*plain("401", one, wrong, single), 300, 64, True, single),
        (*plain("404", one + "x", client, single), 300, 64, True, single),
        (*plain("413", one, client, big), 300, 64, True, big),
        (*plain("429", one, wrong, single, strict), 300, 64, True, single),
    ]


def measured(server, url, script, arguments, connections):
    before = server.cpu_seconds()
    result = wrk(url, arguments.seconds, connections, script)
    result["cpu_us"] = (server.cpu_seconds() - before) / (result["rate"] * arguments.seconds) * 1e6
    result["rss_mib"] = server.resident_mib()
    return result


def middle(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def compare(limit, case, folder, arguments):
    name, server, script, size, connections, meant, body = case
    bare = lua(folder, name + " limit", f"/{size}", {"Content-Type": "application/json"}, body)
    wrk(server.url, 1, connections, script)
    pairs = []
    for _ in range(arguments.repetitions):
        first = measured(limit, limit.url, bare, arguments, connections)
        pairs.append((first, measured(server, server.url, script, arguments, connections)))
    if any(ours["refused"] for _, ours in pairs) != meant or any(ours["errors"] for _, ours in pairs):
        print(f"{name}: answers are not as meant: {pairs}", file=sys.stderr)
    return {
        "case": name,
        "rate": middle([ours["rate"] for _, ours in pairs]),
        "limit_rate": middle([bare["rate"] for bare, _ in pairs]),
        "R": middle([ours["rate"] / bare["rate"] for bare, ours in pairs]),
        "p99_ms": middle([ours["p99_ms"] for _, ours in pairs]),
        "p99_ratio": middle([ours["p99_ms"] / bare["p99_ms"] for bare, ours in pairs]),
        "cpu_us_over_limit": middle([ours["cpu_us"] - bare["cpu_us"] for bare, ours in pairs]),
        "rss_mib": pairs[-1][1]["rss_mib"],
    }


def events(server, folder, case, arguments):
    """How fast new events are taken."""
    name, many, connections = case
    script = events_lua(folder, name, server.keys["server"], many)
    wrk(server.url, 1, connections, script)
    runs = [measured(server, server.url, script, arguments, connections) for _ in range(arguments.repetitions)]
    return {
        "events_per_second": middle([run["rate"] * many for run in runs]),
        "p99_ms": middle([run["p99_ms"] for run in runs]),
        "cpu_us_an_event": middle([run["cpu_us"] / many for run in runs]),
        "refused": sum(run["refused"] for run in runs),
    }


def ingest(server, folder, arguments):
    return [{"case": case[0]} | events(server, folder, case, arguments) for case in INGEST]


def upload(server, ids):
    """A list of that many ids, which the seeded flags ask for."""
    with tempfile.TemporaryFile() as file:
        for number in range(ids):
            file.write(b"u-%09d\n" % number)
        size = file.tell()
        file.seek(0)
        headers = {"Authorization": f"Bearer {ADMIN}", "Content-Type": "text/plain", "Content-Length": str(size), "If-Match": '"1"'}
        path = "/v1/environments/production/audiences/wechat-testers"
        urllib.request.urlopen(urllib.request.Request(server.url + path, file, headers, method="PUT")).read()


def first_decision(folder):
    """Milliseconds from the start of the process to its first decision, and what is resident then."""
    began = time.monotonic()
    server = Server([str(TARGET / "huidu"), "serve"], start_settings(folder))
    while True:
        try:
            call(server, "POST", "/v1/decisions", ADMIN, {"placement": "checkout", "user": {"id": "u-1"}})
            break
        except OSError:
            time.sleep(0.001)
    took = (time.monotonic() - began) * 1000
    time.sleep(0.5)
    resident = server.resident_mib()
    server.end()
    return took, resident


def start_settings(folder):
    return {"HUIDU_DATA_DIR": str(folder), "HUIDU_LISTEN": "127.0.0.1:0", "HUIDU_WORKERS": "1", "HUIDU_BOOTSTRAP_ADMIN_KEY": ADMIN}


def starts(folder, arguments):
    """By how many ids are listed."""
    rows = []
    for ids in (0, 1_000_000, 10_000_000):
        data = Path(folder) / f"start-{ids}"
        server = huidu(data, {"HUIDU_LOG": "error"})
        if ids:
            upload(server, ids)
        server.end()
        runs = [first_decision(data) for _ in range(max(3, arguments.repetitions))]
        rows.append({"ids": ids, "first_decision_ms": middle([run[0] for run in runs]), "rss_mib": middle([run[1] for run in runs])})
    return rows


class Pressure:
    """What goes on beside decisions: 100 changes a second, a scrape each second, 5,000 events a second in batches of 100.

    All requests are made before: wrk takes its times on the core that sends them, and must not wait for it."""

    def __init__(self, server, seconds, changes=100, scrapes=1, batches=50):
        self.server, self.over, self.done = server, threading.Event(), {"changes": 0, "scrapes": 0, "events": 0, "refused": 0}
        self.threads = []
        work = [("changes", self.change, changes, CHANGERS), ("scrapes", self.scrape, scrapes, 1), ("events", self.events, batches, 1)]
        for what, request, rate, senders in work:
            for sender in range(min(rate, senders)):
                first = server.sent[what, sender]
                requests = [request(number * senders + sender) for number in range(first, first + rate * (seconds + 1))]
                every = min(rate, senders) / rate
                self.threads.append(threading.Thread(target=self.again, args=(what, sender, requests, every), daemon=True))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def again(self, what, sender, requests, every):
        """At a fixed rate: who falls behind catches up."""
        host, port = self.server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            due = time.monotonic()
            for request in requests:
                if self.over.is_set():
                    break
                self.done["refused"] += exchange(connection, request) >= 400
                self.server.sent[what, sender] += 1
                self.done[what] += EVENTS_A_BATCH if what == "events" else 1
                due += every
                time.sleep(max(0.0, due - time.monotonic()))

    def change(self, number):
        """Thirty flags take turns, each of one sender, so that the version before is known."""
        version, flag = divmod(number, 30)
        path = f"/v1/environments/production/flags/feature-{flag}/rollout"
        body = {"rule": "ramp", "percent": 20 + version % 50, "reason": "a step"}
        return raw("POST", path, ADMIN, body, f'If-Match: "{version + 1}"\r\n')

    def scrape(self, _number):
        return raw("GET", "/metrics", ADMIN)

    def events(self, number):
        event = lambda n: {"id": f"p-{os.getpid()}-{number}-{n}", "type": "step", "step": "order_paid", "user_id": f"u-{number * 7919 % 10**6}", "value": 45900, "currency": "CNY"}
        return raw("POST", "/v1/events", self.server.keys["server"], {"events": [event(n) for n in range(EVENTS_A_BATCH)]})


def raw(method, path, key, body=None, more=""):
    """A request as it goes over the wire."""
    body = json.dumps(body).encode() if body else b""
    head = f"{method} {path} HTTP/1.1\r\nHost: huidu\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def exchange(connection, request):
    """Sends a request, reads all of its answer, and says its status."""
    connection.sendall(request)

    def more(most=65536):
        if not (read := connection.recv(most)):
            raise ConnectionError("huidu closed a connection in the middle of an answer")
        return read

    answer = more()
    while (end := answer.find(b"\r\n\r\n")) < 0:
        answer += more()
    length = re.search(rb"(?i)content-length: (\d+)", answer[:end])
    missing = end + 4 + int(length.group(1)) - len(answer)
    while missing > 0:
        missing -= len(more(missing))
    return int(answer[9:12])


def under_pressure(server, case, arguments):
    """The 99th percentile of decisions in quiet, and while all that goes on, in turn."""
    _, _, script, _, _, _, _ = case
    rows = []
    for connections in (64, 4):
        quiet, busy, beside = [], [], []
        for _ in range(arguments.repetitions):
            quiet.append(wrk(server.url, arguments.seconds, connections, script))
            with Pressure(server, arguments.seconds) as pressure:
                busy.append(wrk(server.url, arguments.seconds, connections, script))
            beside.append({what: number / arguments.seconds for what, number in pressure.done.items()})
        rows.append(
            {
                "connections": connections,
                "quiet_p99_ms": middle([run["p99_ms"] for run in quiet]),
                "busy_p99_ms": middle([run["p99_ms"] for run in busy]),
                "ratio": middle([two["p99_ms"] / one["p99_ms"] for one, two in zip(quiet, busy)]),
                "quiet_rate": middle([run["rate"] for run in quiet]),
                "busy_rate": middle([run["rate"] for run in busy]),
                "beside_per_second": {what: statistics.median(round[what] for round in beside) for what in beside[0]},
            }
        )
    return rows


def rates(server, case, arguments):
    """The 99th percentile of decisions at full load, by how many changes come a second."""
    _, _, script, _, _, _, _ = case
    rows = []
    for changes in (0, 1, 10, 100):
        runs, done = [], 0
        for _ in range(arguments.repetitions):
            with Pressure(server, arguments.seconds, changes, 0, 0) as pressure:
                runs.append(wrk(server.url, arguments.seconds, 64, script))
            done += pressure.done["changes"]
        rows.append(
            {
                "changes_per_second": changes,
                "done_per_second": done / arguments.seconds / arguments.repetitions,
                "p99_ms": middle([run["p99_ms"] for run in runs]),
                "rate": middle([run["rate"] for run in runs]),
            }
        )
    return rows


def scrape(server):
    request = urllib.request.Request(server.url + "/metrics", headers={"Authorization": f"Bearer {ADMIN}"})
    return urllib.request.urlopen(request).read()


def series(server):
    return sum(1 for line in scrape(server).splitlines() if line and not line.startswith(b"#"))


def scrapes(server):
    """Milliseconds of a scrape, and how many series it has."""
    times = []
    for _ in range(20):
        began = time.monotonic()
        scrape(server)
        times.append((time.monotonic() - began) * 1000)
    return {"series": series(server), "ms": middle(times)}


def more_series(server):
    """Adds flags like the seeded one, with three variants and all its steps, until there are so many series."""
    example = json.loads((ROOT / "examples" / "wechat-scan-pay.json").read_text())
    example |= {"value_type": "string", "variants": {"off": "off", "qr": "qr", "link": "link"}}
    example["rules"][0]["serve"] = {"variant": "qr"}
    example["rules"][1]["serve"]["rollout"]["split"] = {"qr": 1, "link": 1}
    del example["placement"], example["position"]
    number = 0
    while series(server) < SERIES:
        for _ in range(10):
            number += 1
            flag = example | {"key": f"more-{number}"}
            call(server, "PUT", f"/v1/environments/production/flags/{flag['key']}", ADMIN, flag, {"If-None-Match": "*"})


def beside_scrapes(server, case, arguments):
    """The 99th percentile of decisions at 4 connections in quiet, and while one scrape follows the other each 100 ms."""
    quiet, busy = [], []
    for _ in range(arguments.repetitions):
        quiet.append(wrk(server.url, arguments.seconds, 4, case[2]))
        over = threading.Event()
        thread = threading.Thread(target=lambda: [scrape(server) for _ in iter(lambda: over.wait(0.1), True)], daemon=True)
        thread.start()
        busy.append(wrk(server.url, arguments.seconds, 4, case[2]))
        over.set()
        thread.join()
    return {
        "quiet_p99_ms": middle([run["p99_ms"] for run in quiet]),
        "busy_p99_ms": middle([run["p99_ms"] for run in busy]),
        "quiet_rate": middle([run["rate"] for run in quiet]),
        "busy_rate": middle([run["rate"] for run in busy]),
    }


def text(figures, digits=2):
    return f"{figures['median']:.{digits}f} ({figures['min']:.{digits}f} to {figures['max']:.{digits}f})"


def report(result):
    lines = ["| case | requests/s | limit | R | p99 ms | p99 over limit's | CPU over limit's, us | RSS MiB |", "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for row in result["http"]:
        cells = [row["case"], text(row["rate"], 0), text(row["limit_rate"], 0), text(row["R"]), text(row["p99_ms"]), text(row["p99_ratio"]), text(row["cpu_us_over_limit"], 1), f"{row['rss_mib']:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| events | events/s | p99 ms | CPU, us an event | refused |", "| --- | --- | --- | --- | --- |"]
    for row in result["ingest"]:
        lines.append(f"| {row['case']} | {text(row['events_per_second'], 0)} | {text(row['p99_ms'], 1)} | {text(row['cpu_us_an_event'], 1)} | {row['refused']} |")
    if result["pressure"]:
        lines += ["", "| connections | p99 ms quiet | p99 ms busy | ratio | requests/s quiet | busy | beside, a second |", "| --- | --- | --- | --- | --- | --- | --- |"]
        for row in result["pressure"]:
            beside = ", ".join(f"{number:.0f} {what}" for what, number in row["beside_per_second"].items())
            cells = [str(row["connections"]), text(row["quiet_p99_ms"]), text(row["busy_p99_ms"]), text(row["ratio"]), text(row["quiet_rate"], 0), text(row["busy_rate"], 0), beside]
            lines.append("| " + " | ".join(cells) + " |")
    if result["rates"]:
        lines += ["", "| changes a second | p99 ms | decisions/s |", "| --- | --- | --- |"]
        for row in result["rates"]:
            lines.append(f"| {row['done_per_second']:.0f} | {text(row['p99_ms'])} | {text(row['rate'], 0)} |")
    for row in result["metrics"]:
        lines += ["", f"A scrape of {row['series']} series: {text(row['ms'], 1)} ms."]
        if "busy_p99_ms" in row:
            lines += [
                f"Decisions beside ten of them a second, 4 connections: p99 {text(row['quiet_p99_ms'])} ms quiet, {text(row['busy_p99_ms'])} ms busy;"
                f" {text(row['quiet_rate'], 0)} a second quiet, {text(row['busy_rate'], 0)} busy."
            ]
    if result["start"]:
        lines += ["", "| listed ids | start to first decision, ms | resident, MiB |", "| --- | --- | --- |"]
        for row in result["start"]:
            lines.append(f"| {row['ids']} | {text(row['first_decision_ms'], 0)} | {text(row['rss_mib'], 1)} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--only", help="cases whose name has this in it; `events`, `pressure`, `rates`, `metrics` and `start` too")
    parser.add_argument("--out", default=str(ROOT / "target" / "http-bench"))
    arguments = parser.parse_args()
    wanted = lambda name: arguments.only is None or arguments.only in name
    # Never on the server's core.
    os.sched_setaffinity(0, {int(CLIENT_CORE)})
    with tempfile.TemporaryDirectory() as folder:
        quiet = {"HUIDU_LOG": "error", "HUIDU_WRITES_PER_MINUTE": "4000000000"}
        server = huidu(Path(folder) / "data", quiet | {"HUIDU_FAILED_AUTH_PER_MINUTE": "4000000000"})
        strict = huidu(Path(folder) / "strict", quiet | {"HUIDU_FAILED_AUTH_PER_MINUTE": "1", "HUIDU_DATABASE_URL": None})
        for number in range(30):
            flag = realistic(number)
            call(server, "PUT", f"/v1/environments/production/flags/{flag['key']}", ADMIN, flag, {"If-None-Match": "*"})
        result = {"http": [], "ingest": [], "pressure": [], "rates": [], "metrics": [], "start": []}
        every = cases(server, strict, folder)
        limit = Server([str(TARGET / "examples" / "limit"), "1"], {}) if any(wanted(case[0]) for case in every) else None
        for case in every:
            if wanted(case[0]):
                result["http"].append(compare(limit, case, folder, arguments))
                print(result["http"][-1]["case"], text(result["http"][-1]["R"]), flush=True)
        if wanted("events"):
            result["ingest"] = ingest(server, folder, arguments)
        if wanted("pressure"):
            result["pressure"] = under_pressure(server, every[1], arguments)
        if wanted("rates"):
            result["rates"] = rates(server, every[1], arguments)
        if wanted("metrics"):
            result["metrics"] = [scrapes(server)]
            more_series(server)
            result["metrics"].append(scrapes(server) | beside_scrapes(server, every[1], arguments))
        for process in filter(None, [limit, server, strict]):
            process.end()
        if wanted("start"):
            result["start"] = starts(folder, arguments)
    Path(arguments.out + ".json").write_text(json.dumps(result, indent=2) + "\n")
    Path(arguments.out + ".md").write_text(report(result))
    print(report(result))


if __name__ == "__main__":
    main()
