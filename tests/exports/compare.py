"""Runs examples/exports on an export and prints what each finds, as one JSON object.

    compare.py FOLDER SALT STAGE PERCENT AS_OF

FOLDER holds exposures.ndjson, conversions.ndjson and flag.json."""

import json
import os
import subprocess
import sys

import chdb
import duckdb

folder, salt, stage, percent, as_of = sys.argv[1:]
examples = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "exports")
os.chdir(folder)


def statements(file):
    text = open(os.path.join(examples, file), encoding="utf-8").read()
    return [part for part in text.split(";\n") if part.strip()]


def plain():
    files = ["exposures.ndjson", "conversions.ndjson", "flag.json"]
    script = os.path.join(examples, "recompute.py")
    return json.loads(subprocess.check_output([sys.executable, script, *files, as_of]))


def clickhouse():
    parameters = {"salt": salt, "as_of": as_of.replace("T", " ").rstrip("Z")}
    tables = []
    for sql in statements("clickhouse.sql"):
        tables.append(json.loads(str(chdb.query(sql, "JSONCompact", params=parameters)))["data"])
    [[exposures, strangers]], variants, stages, comparisons = tables
    return {"strangers": strangers, "variants": variants, "stages": stages, "comparisons": comparisons}


def duck():
    known = {"stage": int(stage), "percent": float(percent), "as_of": as_of}
    tables = []
    for sql in statements("duckdb.sql"):
        used = {name: value for name, value in known.items() if "$" + name in sql}
        tables.append([list(row) for row in duckdb.execute(sql, used).fetchall()])
    [[exposures, misplaced]], variants, stages, comparisons = tables
    return {"misplaced": misplaced, "variants": variants, "stages": stages, "comparisons": comparisons}


json.dump({"python": plain(), "clickhouse": clickhouse(), "duckdb": duck()}, sys.stdout)
