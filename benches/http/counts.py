#!/usr/bin/env python3
"""Counts instructions of single calls (callgrind), which do not depend on what else the machine does.

    benches/quick
    benches/http/counts.py            # holds them against benches/http/counts.json
    benches/http/counts.py --write    # after a change that was meant

Needs valgrind. Each figure is what the server's worker, or for events all its threads, execute for one call: so many calls on one
connection, divided by their number. A figure that is more than its tolerance over the kept one is a fault, one that far under it should be kept.
"""

import argparse
import itertools
import json
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import run

KEPT = Path(__file__).with_name("counts.json")
# Where all threads count, what jobs do meanwhile counts too, the more the slower the machine.
TOLERANCE = {"worker": 0.07, "all": 0.15}
CALLS = 200


class Connection:
    """One connection, on which calls follow each other."""

    def __init__(self, url):
        host, port = url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)))
        self.rest = b""

    def call(self, path, key, body):
        head = f"POST {path} HTTP/1.1\r\nHost: huidu\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.socket.sendall(head.encode() + body)
        while b"\r\n\r\n" not in self.rest:
            self.more()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        length = int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE).group(1))
        while len(self.rest) < length:
            self.more()
        answer, self.rest = self.rest[:length], self.rest[length:]
        return int(head.split(b" ", 2)[1]), answer

    def more(self):
        chunk = self.socket.recv(1 << 16)
        if not chunk:
            sys.exit("huidu closed the connection")
        self.rest += chunk


def control(server, *arguments):
    subprocess.run(["callgrind_control", *arguments, str(server.process.pid)], check=True, capture_output=True)


def counted(server, folder, call, threads):
    """Instructions of one `call`: of the busiest thread, or of all; the least of three, since whatever else is done only adds."""
    turns = itertools.count()
    for _ in range(30):
        call(next(turns))
    figures = []
    for _ in range(3):
        control(server, "--zero")
        for _ in range(CALLS):
            call(next(turns))
        before = set(folder.iterdir())
        control(server, "--dump")
        totals = []
        for file in set(folder.iterdir()) - before:
            found = re.search(r"^(?:totals|summary): (\d+)", file.read_text(errors="replace"), re.MULTILINE)
            totals.append(int(found.group(1)) if found else 0)
        figures.append((max(totals) if threads == "worker" else sum(totals)) / CALLS)
    return round(min(figures))


def cases(server, connection):
    """By name: which threads count, and the call."""
    client, sender = server.keys["client"], server.keys["server"]
    tester = {"targetingKey": "tester-1", "app_version": "10.9.1", "region": "CN-31", "order": run.ORDER, "goods": run.GOODS}
    single = json.dumps({"context": tester}).encode()
    bulk = json.dumps({"context": {**tester, "targetingKey": "u-4711"}}).encode()
    decisions = run.entries_of_both(server).encode()
    one = "/ofrep/v1/evaluate/flags/wechat-scan-pay"

    def asked(path, key, body, status):
        def call(_turn):
            got, answer = connection.call(path, key, body)
            if got != status:
                sys.exit(f"{path}: {got}, not {status}: {answer}")
            return answer

        return call

    def event(turn):
        body = {"events": [{"id": f"e-{turn}", "type": "step", "step": "order_paid", "user_id": f"u-{turn * 7919}", "value": 45900, "currency": "CNY"}]}
        asked("/v1/events", sender, json.dumps(body).encode(), 200)(turn)

    token = json.loads(asked(one, client, single, 200)(0))["metadata"]["exposureToken"]
    verify = json.dumps({"token": token}).encode()
    return {
        "OFREP, one flag": ("worker", asked(one, client, single, 200)),
        "OFREP, all of 32 flags": ("worker", asked("/ofrep/v1/evaluate/flags", client, bulk, 200)),
        "decisions": ("worker", asked("/v1/decisions", client, decisions, 200)),
        "a token": ("worker", asked("/v1/tokens/verify", sender, verify, 200)),
        "an unknown key": ("worker", asked(one, "huidu_client_wrong", single, 401)),
        "an unknown flag": ("worker", asked(one + "x", client, single, 404)),
        "an event": ("all", event),
    }


def measure(program):
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "counts"
        folder.mkdir()
        valgrind = ["valgrind", "--quiet", "--tool=callgrind", "--separate-threads=yes", f"--callgrind-out-file={folder}/out"]
        server = run.huidu(Path(temporary) / "data", {"HUIDU_LOG": "error", "HUIDU_FAILED_AUTH_PER_MINUTE": "4000000000"}, [*valgrind, program])
        try:
            for number in range(30):
                flag = run.realistic(number)
                run.call(server, "PUT", f"/v1/environments/production/flags/{flag['key']}", run.ADMIN, flag, {"If-None-Match": "*"})
            connection = Connection(server.url)
            return {name: (counted(server, folder, call, threads), TOLERANCE[threads]) for name, (threads, call) in cases(server, connection).items()}
        finally:
            server.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=str(run.TARGET.parent / "quick" / "huidu"))
    parser.add_argument("--write", action="store_true", help="keep what is counted now")
    arguments = parser.parse_args()
    now = measure(arguments.program)
    if arguments.write:
        KEPT.write_text(json.dumps({name: figure for name, (figure, _) in now.items()}, indent=2) + "\n")
    kept = json.loads(KEPT.read_text())
    if kept.keys() != now.keys():
        sys.exit(f"{KEPT.name} holds other cases: write it again")
    failed = False
    print(f"{'instructions of':24} {'kept':>9} {'now':>9}")
    for name, (figure, tolerance) in now.items():
        change = figure / kept[name] - 1
        over, under = change > tolerance, change < -tolerance
        failed |= over
        print(f"{name:24} {kept[name]:9,} {figure:9,} {change:+6.1%}{' TOO MANY' if over else ' (worth keeping: --write)' if under else ''}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
