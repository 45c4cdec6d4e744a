"""One experiment with several seeds."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

from datk.base import processes
from datk.base.errors import naming_seed
from datk.base.files import write_json
from datk.base.version import __version__
from datk.config.resolve import Experiment
from datk.runs.folder import RunFolder
from datk.runs.result import RunResult
from datk.runs.run import execute
from datk.training.report import Reporter


def execute_seeds(
    experiment: Experiment,
    seeds: Sequence[int],
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
    reporters: Sequence[Reporter] = (),
) -> list[RunResult]:
    """One run per seed in `out`/seed-N, and their means in `out`/summary.json. Raises as `execute`."""
    runs = {
        out / f"seed-{seed}": replace(experiment, config=experiment.config.model_copy(update={"seed": seed}))
        for seed in seeds
    }
    for folder, one in runs.items():
        RunFolder(folder).check(one, resume=resume, force=force)
    pair = experiment.pair.cls(experiment.pair.config)
    results = []
    for folder, one in runs.items():
        with naming_seed(one.config.seed):
            results.append(execute(one, folder, resume=resume, force=force, reporters=reporters, pair=pair))
    summary = {"datk": __version__, "seeds": list(seeds), "metrics": summarize(results)}
    if processes.leads():
        write_json(out / "summary.json", summary)
    return results


def summarize(results: Sequence[RunResult]) -> dict[str, dict[str, dict[str, dict[str, float | None]]]]:
    """Mean and sample standard deviation over runs: domain -> part -> metric -> {mean, std}.

    A metric that is None in any run, or that an earlier version of datk did not write, has None for both; the
    deviation of a single run is None.
    """
    summary: dict[str, dict[str, dict[str, dict[str, float | None]]]] = {}
    for domain, parts in results[0].metrics.items():
        for part, metrics in parts.items():
            for name in metrics:
                values = [result.metrics.get(domain, {}).get(part, {}).get(name) for result in results]
                known = [float(value) for value in values if value is not None]
                complete = len(known) == len(values)
                summary.setdefault(domain, {}).setdefault(part, {})[name] = {
                    "mean": fmean(known) if complete else None,
                    "std": stdev(known) if complete and len(known) > 1 else None,
                }
    return summary
