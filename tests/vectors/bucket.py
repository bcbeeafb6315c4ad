#!/usr/bin/env python3
"""Makes bucket.json: what the hash of huidu must give, computed by `mmh3`, not by huidu.

    bucket.py           writes bucket.json beside this file
    bucket.py --check   says whether bucket.json is what this program makes (exit 1 if not)

    h      = murmur3_x86_32(utf8(text), seed 0)     unsigned, 32 bits
    bucket = (h * 1_000_000) >> 32                  0 .. 999_999
"""

import json
import pathlib
import random
import sys

import mmh3

FILE = pathlib.Path(__file__).with_name("bucket.json")
KINDS = {
    "rollout": "{key}:{unit}",
    "split": "{key}/split:{unit}",
    "goods": "{key}/goods:{unit}",
    "layer": "{key}/layer:{unit}",
}
KEYS = ["k7f3v2q6m4x5n2b7c3d6t4w5ay", "wechat-scan-pay", "A.b_c-9", "s", "x" * 100]
ASCII = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/@ "
WORDS = [
    "中文",
    "用户-10086",
    "灰度发布",
    "\U0001f600",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467",
    "caf\u00e9",
    "cafe\u0301",
    "\u00e9",
    "e\u0301",
    "Ünïcödé",
    "\u202eabc",
    "a\u0000b",
    " blank ",
    "a:b",
    "a/split:b",
    "\u007f",
    "\u0080",
    "\u07ff",
    "\u0800",
    "\uffff",
    "\U00010000",
    "\U0010ffff",
]


class Source:
    """Choices that are the same on every Python: only `random()` is promised to stay as it is."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def choice(self, items):
        return items[int(self.random.random() * len(items))]


def text_of(bytes_wanted, source):
    """ASCII text of so many bytes."""
    return "".join(source.choice(ASCII) for _ in range(bytes_wanted))


def wide_text_of(bytes_wanted, source):
    """Text of so many bytes with as many characters of two, three and four bytes as fit."""
    text, left = "", bytes_wanted
    while left:
        size = source.choice([n for n in (1, 2, 3, 4) if n <= left])
        text += source.choice({1: "az09", 2: "éßñж", 3: "中文灰度付", 4: "\U0001f600\U0001f9e7\U00020000"}[size])
        left -= size
    return text


def raw_row(text):
    return {"text": text, "hash": mmh3.hash(text.encode("utf-8"), 0, signed=False)}


def bucket_row(kind, key, unit):
    text = KINDS[kind].format(key=key, unit=unit)
    h = mmh3.hash(text.encode("utf-8"), 0, signed=False)
    return {"kind": kind, "key": key, "unit": unit, "hash": h, "bucket": (h * 1_000_000) >> 32}


def build():
    source = Source(20261124)
    raw = []
    for size in range(41):
        raw.append(raw_row(text_of(size, source)))
        if size:
            raw.append(raw_row(wide_text_of(size, source)))
    raw += [raw_row(text_of(256, source)), raw_row(wide_text_of(256, source))]
    buckets = []
    for size in [*range(1, 41), 256]:
        plain, wide = text_of(size, source), wide_text_of(size, source)
        for kind in KINDS:
            buckets.append(bucket_row(kind, source.choice(KEYS), plain))
            buckets.append(bucket_row(kind, source.choice(KEYS), wide))
    for word in WORDS:
        for kind in KINDS:
            buckets.append(bucket_row(kind, KEYS[0], word))
    for number in range(1, 101):
        buckets.append(bucket_row("rollout", KEYS[1], f"user-{number}"))
    return raw, buckets


def written():
    """One row a line, escaped to ASCII, so that no editor can change a form of writing."""
    raw, buckets = build()
    parts = []
    for name, rows in (("raw", raw), ("buckets", buckets)):
        lines = ",\n".join(json.dumps(row, ensure_ascii=True) for row in rows)
        parts.append(f'"{name}": [\n{lines}\n]')
    formula = "bucket = (murmur3_x86_32(utf8(text), 0) * 1000000) >> 32"
    head = ",\n".join([f'"formula": {json.dumps(formula)}', f'"texts": {json.dumps(KINDS)}'])
    return "{\n" + head + ",\n" + ",\n".join(parts) + "\n}\n"


def main():
    text = written()
    if sys.argv[1:] == ["--check"]:
        if FILE.read_text(encoding="utf-8") != text:
            sys.exit(f"{FILE} is not what {__file__} makes")
        rows = sum(len(part) for part in build())
        print(f"{FILE.name}: {rows} rows are as mmh3 computes them")
    elif not sys.argv[1:]:
        FILE.write_text(text, encoding="utf-8", newline="\n")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
