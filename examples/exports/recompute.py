"""The report's counts, and who is in the cohort, from an export alone.

    recompute.py exposures.ndjson conversions.ndjson flag.json [AS_OF]

flag.json is what GET .../flags/{key} answers; AS_OF (RFC 3339, default now) is the moment the report is of.
Needs mmh3 (pip install mmh3)."""

import json
import math
import sys
from collections import defaultdict
from datetime import datetime, timedelta, timezone

import mmh3


def rows(file):
    with open(file, encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            row["at"] = datetime.fromisoformat(row["at"])
            yield row


def bucket(salt, unit):
    return (mmh3.hash(f"{salt}:{unit}", 0, signed=False) * 1_000_000) >> 32


def share(percent):  # in parts per million
    return round(percent * 10_000)


def walk(stops, times, shown_at):
    """How many stops are reached, in order: each at its earliest event that is not before the stop before it."""
    reached, before = [], shown_at
    for name, optional in stops:
        own = min((at for at in times[name] if at >= before), default=None)
        reached.append(own is not None)
        if optional:
            continue
        if own is None:
            break
        # What nobody may have seen is implied by what came after it.
        reached = [True] * len(reached)
        before = own
    return reached + [False] * (len(stops) - len(reached))


def compare(treated, control, confidence=0.95):
    """Difference of two arms, pooled over their stages, and the interval that holds however often one looks.

    Each arm is {unit: {stage: converted}}, of units whose window has closed."""
    arms, alpha = [treated, control], 1 - confidence
    counts = []
    for arm in arms:
        count = defaultdict(lambda: [0, 0])
        for came in arm.values():
            for stage, converted in came.items():
                count[stage][0] += 1
                count[stage][1] += converted
        counts.append(count)
    stages = sorted(counts[0].keys() & counts[1].keys())
    if not stages:
        return None
    n = [{k: count[k][0] for k in stages} for count in counts]
    p = [{k: count[k][1] / count[k][0] for k in stages} for count in counts]
    both = {k: n[0][k] + n[1][k] for k in stages}
    h = {k: n[0][k] * n[1][k] / both[k] for k in stages}
    information = sum(h.values())
    rates = [sum(h[k] * rate[k] for k in stages) / information for rate in p]
    # A unit that came in several stages counts as one, so each unit's deviations are summed before they are squared.
    variances = [
        sum(sum(h[k] / information / size[k] * (came[k] - rate[k]) for k in came.keys() & h.keys()) ** 2 for came in arm.values())
        for arm, size, rate in zip(arms, n, p)]
    pooled = information / sum(both.values())  # one conversion more: never nothing
    for k in stages:
        rate = (counts[0][k][1] + counts[1][k][1]) / both[k]
        pooled += h[k] * rate * (1 - rate) * both[k] / max(1, both[k] - 1)
    se = math.sqrt(max(sum(variances), pooled / information**2))
    tuning = 8.0
    for _ in range(50):  # (R + 1) exp(-R) = 0.05^2
        tuning = math.log(tuning + 1) - 2 * math.log(0.05)
    r = tuning * information / 5000
    width = math.sqrt((1 + 1 / r) * (math.log(1 + r) - 2 * math.log(alpha))) * se
    lift = rates[0] - rates[1]
    return [rates[0], rates[1], lift, lift - width, lift + width]


def main():
    shown = list(rows(sys.argv[1]))
    document = json.load(open(sys.argv[3], encoding="utf-8"))["flag"]
    as_of = datetime.fromisoformat(sys.argv[4]) if len(sys.argv) > 4 else datetime.now(timezone.utc)

    # Who is in the cohort: the bucket is a hash of salt and unit, and the arm a range of buckets.
    strangers = sum(row["bucket"] != bucket(document["salt"], row["unit"]) for row in shown)
    rollouts = {r["id"]: r["serve"]["rollout"] for r in document["rules"] if "rollout" in r["serve"]}
    newest = max(row["stage"] for row in shown)
    misplaced = 0
    for row in shown:
        if row["stage"] == newest and row["rule"] in rollouts:
            rollout = rollouts[row["rule"]]
            treatment = row["bucket"] < share(rollout["percent"])
            control = row["bucket"] >= 1_000_000 - share(rollout.get("control", 0))
            misplaced += (row["arm"] == "treatment") != treatment or (row["arm"] == "control") != control

    # What they did: metrics by unit, stops by what they count for.
    goal, stops = defaultdict(list), defaultdict(lambda: defaultdict(list))
    for row in rows(sys.argv[2]):
        if row["flag"]:
            stops[row["unit"], row["stage"], row["rule"]][row["step"]].append(row["at"])
        elif row["step"] == document["goal"]:
            goal[row["unit"]].append(row["at"])
    hours = document.get("attribution_hours", 24)
    metric = next((m for m in document["metrics"] if isinstance(m, dict) and m["step"] == document["goal"]), {})
    window, goal_window = timedelta(hours=hours), timedelta(hours=metric.get("window_hours", hours))
    funnel = [(stop, False) if isinstance(stop, str) else (stop["step"], stop.get("optional", False))
              for stop in document["funnel"]]

    stages, firsts = defaultdict(lambda: [0, 0]), {}
    came = defaultdict(lambda: defaultdict(dict))
    for row in shown:  # oldest first
        matured = row["at"] + goal_window + timedelta(minutes=10) <= as_of
        converted = any(row["at"] <= at < row["at"] + goal_window for at in goal[row["unit"]])
        cell = stages[row["stage"], row["rule"], row["variant"], row["arm"]]
        cell[0] += 1
        cell[1] += matured and converted
        if matured:
            came[row["rule"], row["arm"], row["variant"]][row["unit"]][row["stage"]] = converted
        # A unit counts once, from its first exposure under a rule and arm.
        firsts.setdefault((row["rule"], row["variant"], row["arm"], row["unit"]), (row, matured, converted))

    variants = defaultdict(lambda: {"exposed": 0, "maturing": 0, "converted": 0, "funnel": [0] * len(funnel)})
    for (rule, variant, arm, unit), (row, matured, converted) in firsts.items():
        cell = variants[rule, variant, arm]
        cell["exposed" if matured else "maturing"] += 1
        cell["converted"] += matured and converted
        if row["at"] + window + timedelta(minutes=10) <= as_of:
            times = {stop: [at for at in stops[unit, row["stage"], rule][stop] if row["at"] <= at < row["at"] + window]
                     for stop, _ in funnel}
            for at, reached in enumerate(walk(funnel, times, row["at"])):
                cell["funnel"][at] += reached
    # Each treated variant against all of control under the same rule.
    control = defaultdict(dict)
    for (rule, arm, _), units in came.items():
        if arm == "control":
            for unit, stages_of in units.items():
                control[rule].setdefault(unit, {}).update(stages_of)
    treated = sorted((rule, variant) for rule, arm, variant in came if arm == "treatment")
    comparisons = {}
    for rule, variant in treated:
        alpha = 0.05 / sum(rule == own for own, _ in treated)
        comparisons[rule, variant] = compare(came[rule, "treatment", variant], control[rule], 1 - alpha)

    json.dump({
        "strangers": strangers,
        "misplaced": misplaced,
        "variants": [[*key, *cell.values()] for key, cell in sorted(variants.items())],
        "stages": [[*key, *cell] for key, cell in sorted(stages.items())],
        "comparisons": [[*key, *figures] for key, figures in comparisons.items() if figures],
    }, sys.stdout)


main()
