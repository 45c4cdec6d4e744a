"""What defaults alone do on the development shifts, and what classifiers without a network do.

    python benchmarks/defaults/measure.py DATA tables FILE.jsonl 0,1,2    # a line for each shift and seed
    python benchmarks/defaults/measure.py --table FILE.jsonl              # as a table

A run of `--align auto` on every shift: its candidates are ordinary runs with the defaults, on one split. DATA
and the families of shifts are those of `shifts.py` beside it. What is in FILE is not measured again.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import shifts

import datk
from datk.bench.shallow import STANDARDIZED, fit
from datk.runs.result import read_result

CANDIDATES = ("source-only", "per-domain", "mmd", "coral", "dann")
RESAMPLES = 10_000


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def measured(shift: shifts.Shift, seed: int, sets: dict[str, str]) -> dict[str, Any]:
    """Target accuracies of the vote and of its candidates, with the alarms of these."""
    arrays = {key: value for key, value in shift._asdict().items() if key != "name"}
    with TemporaryDirectory() as folder:
        pair = {"name": "arrays", **arrays}
        options: dict[str, Any] = {"device": "cpu", "set": sets, "progress": False}
        vote = datk.run(pair=pair, align="auto", seed=seed, out=f"{folder}/run", **options)
        found: dict[str, Any] = {"vote": vote.metrics["target"]["test"]["accuracy"]}
        for name in CANDIDATES:
            run = read_result(Path(folder) / "run" / "candidates" / name)
            found[name] = run.metrics["target"]["test"]["accuracy"]
            found[f"{name}_src"] = run.metrics["source"]["test"]["accuracy"]
            found[f"{name}_alarms"] = [alarm.code for alarm in run.alarms]
    return found


def shallow(shift: shifts.Shift) -> dict[str, float]:
    """Target accuracies of logistic regressions, fitted to the source's training rows of the runs."""
    from datk.data.splits import split_pair
    from datk.interfaces import Samples

    source, target = (np.asarray(x, np.float64) for x in (shift.source_x, shift.target_x))
    split = split_pair(
        Samples(source), Samples(target), False, (0.7, 0.1, 0.2), 0, "stratified", shift.source_y, "all"
    )
    train = split.source.train
    rows, classes = source[train], int(shift.source_y.max()) + 1

    def standardized(x: np.ndarray, by: np.ndarray) -> np.ndarray:
        spread = by.std(axis=0)
        return (x - by.mean(axis=0)) * np.where(spread > 0, 1 / np.where(spread > 0, spread, 1), 0)

    found = {}
    for name, by in STANDARDIZED.items():
        ours = standardized(rows, rows)
        theirs = standardized(target, target if by == "per-domain" else rows)
        classifier = fit(name, ours, shift.source_y[train], theirs, classes)
        predicted = classifier.log_probabilities("target", theirs).argmax(axis=1)
        found[name] = float((predicted == shift.target_y).mean())
    return found


def measure(data: Path, family: str, path: Path, seeds: str, *options: str) -> None:
    sets = dict(option.split("=", 1) for option in options)
    key = json.dumps(sets)
    done = {(line["shift"], line.get("seed"), line.get("sets", key)) for line in lines(path)}
    chosen = list(getattr(shifts, family)(data))
    with path.open("a") as file:
        for seed in [None, *map(int, seeds.split(","))]:
            for shift in chosen:
                if (shift.name, seed, key) in done or (seed is None and shift.source_x.ndim > 2):
                    continue
                found = shallow(shift) if seed is None else measured(shift, seed, sets)
                file.write(json.dumps({"shift": shift.name, "seed": seed, "sets": key, **found}) + "\n")
                file.flush()


def table(path: Path, sets: str = "{}") -> str:
    """Markdown: a line for each shift, in percent, and means with 95 % intervals over shifts and seeds."""
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    without: dict[str, dict[str, Any]] = {}
    for line in lines(path):
        if line["sets"] == sets and line["seed"] is not None:
            runs[line["shift"]].append(line)
        elif line["seed"] is None:
            without[line["shift"]] = line
    methods = (*CANDIDATES[1:], "vote")
    gained = [f"{name}, gain" for name in methods]
    rows = [["shift", *STANDARDIZED, "source only", *gained, "best, gain", "alarms"]]
    rows.append(["---"] * len(rows[0]))
    gains = {
        name: [[run[name] - run["source-only"] for run in each] for each in runs.values()] for name in methods
    }
    best = []
    for place, (shift, each) in enumerate(runs.items()):
        base = np.mean([run["source-only"] for run in each])
        best.append(max(np.mean([run[name] for run in each]) for name in CANDIDATES) - base)
        told = sorted({code for run in each for name in CANDIDATES for code in run[f"{name}_alarms"]})
        shown = [f"{100 * without[shift][name]:.1f}" if shift in without else "" for name in STANDARDIZED]
        own = [f"{100 * np.mean(gains[name][place]):+.1f}" for name in methods]
        rows.append([shift, *shown, f"{100 * base:.1f}", *own, f"{100 * best[-1]:+.1f}", ", ".join(told)])
    base = np.mean([np.mean([run["source-only"] for run in each]) for each in runs.values()])
    known = [line for name, line in without.items() if name in runs]
    shown = [f"{100 * np.mean([line[name] for line in known]):.1f}" if known else "" for name in STANDARDIZED]
    means = [
        f"{100 * np.mean([np.mean(each) for each in gains[name]]):+.1f} {interval(gains[name])}"
        for name in methods
    ]
    rows.append(["**mean**", *shown, f"{100 * base:.1f}", *means, f"{100 * np.mean(best):+.1f}", ""])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def interval(gains: list[list[float]]) -> str:
    """Of a mean over shifts of means over seeds: both are drawn with replacement."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        chosen = rng.integers(0, len(gains), len(gains))
        drawn.append(np.mean([np.mean(rng.choice(gains[shift], len(gains[shift]))) for shift in chosen]))
    low, high = 100 * np.quantile(drawn, [0.025, 0.975])
    return f"[{low:+.1f}, {high:+.1f}]"


if __name__ == "__main__":
    if sys.argv[1] == "--table":
        print(table(Path(sys.argv[2]), *sys.argv[3:]))
    else:
        measure(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), *sys.argv[4:])
