"""The source-only baseline beside a run (`--baseline`): what is gained by adaptation is gained over it.

OUT/baseline/           trained as the run, without alignment and regularizers, by the source's constants
OUT/baseline/seed-N/    of several seeds
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from datk.base.errors import DatkError, RunError
from datk.config.resolve import Experiment
from datk.runs.auto import CANDIDATES, differing
from datk.runs.candidates import FOLDER as OF_CANDIDATES
from datk.runs.candidates import SOURCE_ONLY, VOTE
from datk.runs.folder import RunFolder
from datk.runs.recognize import is_empty, is_run, seeds_in
from datk.runs.result import RunResult, read_result
from datk.runs.run import execute
from datk.runs.seeds import execute_seeds
from datk.training.report import Reporter, Reporters

FOLDER = "baseline"


def baseline_of(experiment: Experiment) -> Experiment:
    """The source-only experiment with the same data, split, seed and training."""
    return differing(experiment, {**CANDIDATES[SOURCE_ONLY], "reg": {}})


def demand_place(out: Path) -> None:
    """Raise `RunError` if the baseline's folder holds something else, before anything is computed."""
    folder = out / FOLDER
    if not folder.exists():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise RunError(f"{folder} is no folder, and --baseline trains a run there; choose another --out")
    if not (is_empty(folder) or is_run(folder) or seeds_in(folder)):
        raise RunError(
            f"{folder} is not empty and holds no run, and --baseline trains one there; choose another --out"
        )


def execute_baseline(
    experiment: Experiment,
    results: Sequence[RunResult],
    out: Path,
    *,
    several: bool,
    force: bool = False,
    reporters: Sequence[Reporter] = (),
) -> None:
    """Train the baseline of runs that are complete, one for each seed, where it is not there yet, and let
    `RunResult.baseline` of each be its result.

    Args:
        results: of the experiment's runs, in `out`.
        several: whether these are in a folder for each seed.
        force: whether a baseline with other options or other data is replaced.

    Raises:
        DatkError: as `datk.runs.run.execute`; a baseline in the folder that is another one.
    """
    baseline = baseline_of(experiment)
    if baseline.config == experiment.config:
        Reporters(reporters).tell("note", "the run is the source-only baseline itself")
        return
    if VOTE in experiment.config.align and not experiment.reg:
        for result in results:
            result._baseline = read_result(result.folder / OF_CANDIDATES / SOURCE_ONLY)
        return
    Reporters(reporters).tell("note", f"the source-only baseline of it, in {out / FOLDER}")
    folders = {
        result.seed: out / FOLDER / f"seed-{result.seed}" if several else out / FOLDER for result in results
    }
    data = results[0].data_sha256
    kept = not force or all(_is_same(baseline, seed, folder, data) for seed, folder in folders.items())
    ways: dict[str, Any] = {"resume": kept, "force": not kept, "reporters": reporters}
    if several:
        found = execute_seeds(baseline, [*folders], out / FOLDER, **ways).results
    else:
        found = [execute(_seeded(baseline, results[0].seed), out / FOLDER, **ways)]
    by_seed = {each.seed: each for each in found}
    for result in results:
        theirs = by_seed[result.seed]
        if (theirs.data_sha256, theirs.split) != (result.data_sha256, result.split):
            raise RunError(
                f"{theirs.folder} is of other data than {result.folder}; --force trains both again"
            )
        result._baseline = theirs


def _seeded(experiment: Experiment, seed: int) -> Experiment:
    return replace(experiment, config=experiment.config.model_copy(update={"seed": seed}))


def _is_same(baseline: Experiment, seed: int, folder: Path, data_sha256: str) -> bool:
    """Whether a folder holds this baseline, or nothing."""
    run, one = RunFolder(folder), _seeded(baseline, seed)
    try:
        run.check(run.as_begun(one), resume=True)
        done = run.result()
    except DatkError:
        return False
    return done is None or done.data_sha256 == data_sha256


# --- the comparison ------------------------------------------------------------------------------------


def gains(results: Sequence[RunResult], metric: str) -> Mapping[str, tuple[float, float | None]]:
    """By domain the mean difference between runs and their baselines on test rows, and over several seeds its
    standard deviation. Runs are paired by seed. A domain without scores has none."""
    found = {}
    for domain in results[0].metrics:
        pairs = [
            (_score(result, domain, metric), _score(result.baseline, domain, metric)) for result in results
        ]
        differences = [mine - theirs for mine, theirs in pairs if mine is not None and theirs is not None]
        if len(differences) == len(results):
            spread = stdev(differences) if len(differences) > 1 else None
            found[domain] = fmean(differences), spread
    return found


def _score(result: RunResult | None, domain: str, metric: str) -> float | None:
    return None if result is None else result.metrics.get(domain, {}).get("test", {}).get(metric)
