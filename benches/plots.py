#!/usr/bin/env python3
"""Draws how costs grow, from what the benchmarks measured last, into docs/performance-scale.svg. Standard library only.

    cargo bench --bench engine -- '^(flags|rules|listed ids|goods)/' 2>&1 | tee target/scale.txt
    benches/http/events.py --held 100000,1000000,10000000
    benches/http/run.py --only rates --out target/rates-bench
    benches/streams.py --streams 1,10,100,1000,10000 --rounds 3 --storms 0 --out target/streams-bench.json
    benches/plots.py target/scale.txt
"""

import json
import math
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CRITERION = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "criterion"
WIDTH, HEIGHT, LEFT, TOP = 400, 230, 62, 54
INK, GRID = "#222222", "#dddddd"
COLOURS = ["#0072b2", "#d55e00"]


def measured(group, name):
    """Medians in ns, by size."""
    points = []
    for folder in (CRITERION / group / name).iterdir():
        if folder.name.isdigit():
            estimates = json.loads((folder / "new" / "estimates.json").read_text())
            points.append((int(folder.name), estimates["median"]["point_estimate"]))
    return sorted(points)


def kept(name):
    """What another measurement wrote below target/."""
    return json.loads((CRITERION.parent / f"{name}.json").read_text())


def number(value):
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def time(ns):
    for size, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.3g} ns"


def panel(title, across, lines, up=time, floor=None):
    """One chart, both axes logarithmic."""
    xs = sorted({x for _, points in lines for x, _ in points})
    ys = [y for _, points in lines for _, y in points]
    low = 10 ** math.floor(math.log10(floor or min(ys)))
    high = 10 ** math.ceil(math.log10(max(ys) * 1.05))
    right, bottom = WIDTH - 12, HEIGHT - 40
    place = lambda value, least, most, begin, end: begin + (end - begin) * math.log(value / least) / math.log(most / least)
    at_x = lambda x: place(x, xs[0], xs[-1], LEFT, right)
    at_y = lambda y: place(y, low, high, bottom, TOP)
    out = [f'<text x="{LEFT}" y="18" font-weight="bold">{title}</text>']
    step = low
    while step <= high * 1.01:
        out.append(f'<line x1="{LEFT}" x2="{right}" y1="{at_y(step):.1f}" y2="{at_y(step):.1f}" stroke="{GRID}"/>')
        out.append(f'<text x="{LEFT - 6}" y="{at_y(step) + 4:.1f}" text-anchor="end">{up(step)}</text>')
        step *= 10
    for x in xs:
        out.append(f'<text x="{at_x(x):.1f}" y="{bottom + 16}" text-anchor="middle">{number(x)}</text>')
    out.append(f'<text x="{(LEFT + right) / 2}" y="{bottom + 32}" text-anchor="middle">{across}</text>')
    for at, (name, points) in enumerate(lines):
        colour = COLOURS[at]
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y in points:
            out.append(f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="3" fill="{colour}"><title>{name}, {number(x)}: {up(y)}</title></circle>')
        (_, first), (_, last) = points[0], points[-1]
        out.append(f'<text x="{LEFT + at * 168}" y="38" fill="{colour}">{name}: {up(first)} to {up(last)}</text>')
    return out


def main():
    said = Path(sys.argv[1]).read_text()
    bytes_an_id = [(int(size), float(value)) for size, value in re.findall(r"bytes an id/(\d+): ([\d.]+)", said)]
    events = lambda case: [(row["held"], row["events_per_second"]["median"]) for row in kept("events-bench") if row["case"] == case]
    # Without any is drawn at a tenth of a change: no logarithm has a place for it.
    rates = [(round(max(row["done_per_second"], 0.1), 1), row["p99_ms"]["median"] * 1e6) for row in kept("rates-bench")["rates"]]
    streams = kept("streams-bench")
    told = lambda name: [(row["streams"], row["p99_ms"][name] * 1e6) for row in streams]
    panels = [
        panel("A decision, as flags are added", "flags", [("one flag", measured("flags", "one decision")), ("a placement", measured("flags", "a placement"))], floor=10),
        panel("A decision, as its rules grow", "rules, of which only the last holds", [("one flag", measured("rules", "one decision"))], floor=10),
        panel("A decision, as goods are added", "goods of the order", [("decide", measured("goods", "one decision")), ("parse", measured("goods", "parse"))]),
        panel("A decision, as ids are listed", "ids of the audience", [("parse and decide", measured("listed ids", "parse and decide"))], floor=100),
        panel("Building a list", "ids", [("from hashes", measured("listed ids", "build"))]),
        panel("Memory of a list", "ids", [("bytes an id", bytes_an_id)], up=lambda value: f"{value:.3g}", floor=1),
        panel("Events a second, as events are held (SQLite)", "events held", [("in 100s", events("events, 100 a request")), ("one by one", events("events, one a request"))], up=lambda value: f"{value / 1000:.3g}k", floor=1_000),
        panel("99 % of decisions at full load, as flags change", "changes a second (0.1: none)", [("p99", rates)], floor=1e6),
        panel("99 % of pages have heard of a change, as more listen", "open streams", [("shut", told("kill")), ("ramped", told("ramp"))], floor=1e6),
    ]
    columns = 2
    rows = -(-len(panels) // columns)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * columns} {HEIGHT * rows}" font-family="sans-serif" font-size="12" fill="{INK}">']
    out += ["<title>How the cost of a decision grows; both axes are logarithmic</title>", f'<rect width="{WIDTH * columns}" height="{HEIGHT * rows}" fill="#ffffff"/>']
    for at, lines in enumerate(panels):
        out += [f'<g transform="translate({at % columns * WIDTH},{at // columns * HEIGHT})">', *lines, "</g>"]
    out.append("</svg>")
    (ROOT / "docs" / "performance-scale.svg").write_text("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
