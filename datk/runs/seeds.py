"""One experiment with several seeds."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

from pydantic import BaseModel, ConfigDict, PrivateAttr

from datk.base import processes
from datk.base.errors import ConfigError, DatkError, RunError, naming_seed
from datk.base.files import only_one, write_json
from datk.base.version import __version__
from datk.config.faults import machine_told
from datk.config.resolve import Experiment
from datk.runs.again import labels_changed
from datk.runs.folder import RunFolder, difference_text, differences, recorded_experiment
from datk.runs.recognize import is_empty, is_run, seeds_in
from datk.runs.result import RunResult, read_result
from datk.runs.run import execute
from datk.training.report import Reporter, Reporters

Statistics = dict[str, dict[str, dict[str, dict[str, float | None]]]]


class Summary(BaseModel):
    """What runs of one experiment with several seeds found together, and the folder they lie in."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    datk: str
    """Version of datk."""
    seeds: list[int]
    """Seeds of the runs, in order."""
    metrics: Statistics
    """Mean and sample standard deviation over the runs: domain -> part -> metric -> `mean` and `std`."""

    _results: list[RunResult] = PrivateAttr(default_factory=list)
    _folder: Path = PrivateAttr(default=Path())

    @property
    def results(self) -> list[RunResult]:
        """The result of each run, in the order of `seeds`."""
        return self._results

    @property
    def folder(self) -> Path:
        """The folder of the runs' folders."""
        return self._folder


@machine_told()
def execute_seeds(
    experiment: Experiment,
    seeds: Sequence[int],
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
    reporters: Sequence[Reporter] = (),
) -> Summary:
    """One run per seed in `out`/seed-N, and in `out`/summary.json the means over these and the complete runs
    with other seeds that were there.

    Raises:
        DatkError: as `execute`, and for a folder of something else, or of runs with other options.
    """
    if resume and force:
        raise ConfigError("resume goes on with a run and force replaces it; choose one")
    runs = {
        out / f"seed-{seed}": replace(experiment, config=experiment.config.model_copy(update={"seed": seed}))
        for seed in seeds
    }
    _check(experiment, seeds, out)
    for folder, one in runs.items():
        run = RunFolder(folder)
        run.check(run.as_begun(one) if resume else one, resume=resume, force=force)
    pair = experiment.pair.cls(experiment.pair.config)
    results = []
    for folder, one in runs.items():
        with naming_seed(one.config.seed):
            results.append(execute(one, folder, resume=resume, force=force, reporters=reporters, pair=pair))
    if not processes.leads():
        return _summary(results, out)
    busy = RunError(f"another process writes into {out}; go on with --resume when it is done")
    with only_one(out, busy, wait=True):  # all that were complete by now are counted by one of us
        others, notes = _others(results, out, lambda done: labels_changed(done, experiment, pair))
        summary = _summary([*results, *others], out)
        write_json(out / "summary.json", summary.model_dump(mode="json"))
    for note in notes:
        Reporters(reporters).tell("note", note)
    return summary


def _check(experiment: Experiment, seeds: Sequence[int], out: Path) -> None:
    """Raise `RunError` if a folder is no place for runs of these seeds, before anything is computed."""
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file; --out names a folder")
    if not out.is_dir() or is_empty(out):
        return
    if is_run(out):
        raise RunError(f"{out} holds a single run; runs of several seeds need another --out")
    there = seeds_in(out)
    if not there and not (out / "summary.json").is_file():
        raise RunError(f"{out} is not empty and holds no runs; choose another --out")
    for seed, folder in there.items():
        if seed not in seeds and (different := _different(folder, experiment)):
            raise RunError(
                f"{folder} is a run with other options: {different}; runs of one folder differ in their "
                "seed only: choose another --out"
            )


def _different(folder: Path, experiment: Experiment) -> str:
    """The first option but the seed in which the run in a folder differs from an experiment, if one does. The
    checksum of the data, not the pair's options, says whether the data are the same."""
    try:
        recorded = recorded_experiment(folder, pair=experiment.pair)
    except DatkError as error:
        return str(error)
    same_pair = recorded.pair.label == experiment.pair.label
    for difference in differences(recorded, experiment):
        key = difference[0]
        if key != "seed" and not (same_pair and key.startswith("pair.")):
            return difference_text(difference)
    return ""


def _others(
    results: Sequence[RunResult], out: Path, corrected: Callable[[RunResult], bool]
) -> tuple[list[RunResult], list[str]]:
    """The complete runs of other seeds on the same data, and a note for each that is left out.

    corrected: whether the target labels that a run was scored by have changed since.
    """
    found, notes = [], []
    for seed, folder in seeds_in(out).items():
        if seed in [result.seed for result in results] or not (folder / "result.json").is_file():
            continue
        result = read_result(folder)
        again = f"give its seed, too, and --resume, to score it again: --seed {seed}"
        if result.data_sha256 != results[0].data_sha256:
            notes.append(f"{folder} is not in summary.json: its data are others")
        elif result.positive not in (None, results[0].positive):
            notes.append(f"{folder} is not in summary.json: its positive class is another; {again}")
        elif corrected(result):
            notes.append(f"{folder} is not in summary.json: the target's labels have changed since; {again}")
        else:
            found.append(result)
    return found, notes


def _summary(results: Sequence[RunResult], out: Path) -> Summary:
    results = sorted(results, key=lambda result: result.seed)
    seeds = [result.seed for result in results]
    summary = Summary(datk=__version__, seeds=seeds, metrics=summarize(results))
    summary._results, summary._folder = results, out
    return summary


def summarize(results: Sequence[RunResult]) -> Statistics:
    """Mean and sample standard deviation over runs: domain -> part -> metric -> {mean, std}.

    A metric that is None in any run, or that one of them does not have, has None for both, as a mean over the
    others would be one over other seeds; the deviation of a single run is None.
    """
    names = dict.fromkeys(
        (domain, part, name)
        for result in results
        for domain, parts in result.metrics.items()
        for part, metrics in parts.items()
        for name in metrics
    )
    summary: Statistics = {}
    for domain, part, name in names:
        values = [result.metrics.get(domain, {}).get(part, {}).get(name) for result in results]
        known = [float(value) for value in values if value is not None]
        complete = len(known) == len(values)
        summary.setdefault(domain, {}).setdefault(part, {})[name] = {
            "mean": fmean(known) if complete else None,
            "std": stdev(known) if complete and len(known) > 1 else None,
        }
    return summary
