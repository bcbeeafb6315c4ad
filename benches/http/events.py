#!/usr/bin/env python3
"""Measures how fast events are taken while more and more of them are held already, in SQLite.

    cargo build --release --bin huidu
    benches/http/events.py [--held 0,100000,1000000] [--seconds 4] [--repetitions 3] [--out target/events-bench]

Rows are made inside the database, with huidu not running: orders of a million shoppers over two weeks, in the order of the
table. 10,000,000 of them take some minutes and 2.5 GB. Each size is measured on a file of its own, with new orders of the
same shoppers, in batches of 100 over 8 connections, and one a request over 512. Writes OUT.md and OUT.json.
"""

import argparse
import json
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import run

SHOPPERS = 1_000_000
SPAN_MS = 14 * 86_400_000


def fill(file, held):
    """Orders of the past, each shopper's first before any second, and their places by shopper."""
    database = sqlite3.connect(file, isolation_level=None)
    for setting in ("journal_mode = WAL", "synchronous = OFF", "cache_size = -400000", "temp_store = MEMORY"):
        database.execute(f"PRAGMA {setting}")
    index = database.execute("SELECT sql FROM sqlite_schema WHERE name = 'steps_by_time'").fetchone()[0]
    database.execute("DROP INDEX steps_by_time")
    # 7919 is prime to the number of shoppers: each comes once before any comes twice, in no order of time.
    database.execute(
        """WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :held)
           INSERT INTO steps (environment, unit, unit_attribute, step, id, value, currency, order_id, at)
           SELECT 1, 'u-' || (i * 7919 % :shoppers), 'user.id', 'order_paid', 'f-' || i, 45900, 'CNY', 'o-' || i,
                  :now - 3600000 - (i * 48271 % 1209600000)
           FROM n WHERE :held > 0 ORDER BY 9""",
        {"held": held, "shoppers": SHOPPERS, "now": int(time.time() * 1000)},
    )
    database.execute(
        """INSERT INTO step_places (environment, unit, unit_attribute, step, id, number)
           SELECT environment, unit, unit_attribute, step, id, number FROM steps ORDER BY 1, 2, 3, 4, 5"""
    )
    database.execute("UPDATE meta SET value = (SELECT COALESCE(MAX(number), 0) FROM steps) WHERE key = 'steps_placed'")
    database.execute(index)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    found = database.execute("SELECT count(*) FROM steps").fetchone()[0]
    database.close()
    if found != held:
        sys.exit(f"{found} rows were made instead of {held}")


def measure(folder, held, arguments):
    rows = []
    for name, events, connections in run.INGEST:
        data = Path(folder) / f"{held}-{events}"
        quiet = {"HUIDU_LOG": "error"}
        # Only a first start says its keys.
        first = run.huidu(data, quiet)
        first.end()
        fill(data / "huidu.db", held)
        server = run.Server([str(run.TARGET / "huidu"), "serve"], run.start_settings(data) | quiet)
        server.keys = first.keys
        settle(server)
        rows.append({"held": held, "case": name} | run.events(server, folder, (name, events, connections), arguments))
        server.end()
        print(held, name, run.text(rows[-1]["events_per_second"], 0), flush=True)
        for file in data.iterdir():
            if file.is_file():
                file.unlink()
    return rows


def settle(server):
    """Waits until the server has read which events it holds: until it hardly works for some seconds."""
    while True:
        before = server.cpu_seconds()
        time.sleep(3)
        if server.cpu_seconds() - before < 0.1:
            return


def report(rows):
    lines = ["| held before | case | events/s | p99 ms | CPU, us an event | refused |", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        figures = [run.text(row["events_per_second"], 0), run.text(row["p99_ms"], 0), run.text(row["cpu_us_an_event"], 0)]
        lines.append(f"| {row['held']:,} | {row['case']} | {' | '.join(figures)} | {row['refused']} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--held", default="0,100000,1000000", help="how many events are held before, one size after the other")
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", default=str(run.ROOT / "target" / "events-bench"))
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for held in (int(size) for size in arguments.held.split(",")):
            rows += measure(folder, held, arguments)
    Path(arguments.out + ".json").write_text(json.dumps(rows, indent=2) + "\n")
    Path(arguments.out + ".md").write_text(report(rows))
    print(report(rows))


if __name__ == "__main__":
    main()
