"""`datk.run`: the command line's `datk run` in Python."""

import builtins
import operator
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, overload

from datk.base import processes
from datk.base.errors import ConfigError
from datk.cli.console import progress as shown
from datk.config.faults import machine_told
from datk.config.resolve import resolve
from datk.runs.baseline import demand_place, execute_baseline
from datk.runs.recognize import recorded_config, seeds_in
from datk.runs.reserve import new_folder
from datk.runs.result import RunResult
from datk.runs.run import execute
from datk.runs.seeds import Summary, execute_seeds
from datk.training.report import Reporter

Selection = str | Iterable[str] | Mapping[str, Any]


@overload
def run(
    *,
    backbone: str | Mapping[str, Any] | None = ...,
    align: Selection | None = ...,
    reg: Selection | None = ...,
    pair: str | Mapping[str, Any] | None = ...,
    recipe: str | None = ...,
    config: str | Path | Mapping[str, Any] | None = ...,
    set: Mapping[str, Any] | None = ...,
    init: str | Path | None = ...,
    out: str | Path | None = ...,
    seed: int | None = ...,
    epochs: int | None = ...,
    time_budget: str | float | None = ...,
    device: str | None = ...,
    resume: bool = ...,
    force: bool = ...,
    baseline: bool = ...,
    progress: bool | None = ...,
) -> RunResult: ...


@overload
def run(
    *,
    backbone: str | Mapping[str, Any] | None = ...,
    align: Selection | None = ...,
    reg: Selection | None = ...,
    pair: str | Mapping[str, Any] | None = ...,
    recipe: str | None = ...,
    config: str | Path | Mapping[str, Any] | None = ...,
    set: Mapping[str, Any] | None = ...,
    init: str | Path | None = ...,
    out: str | Path | None = ...,
    seed: Iterable[int],
    epochs: int | None = ...,
    time_budget: str | float | None = ...,
    device: str | None = ...,
    resume: bool = ...,
    force: bool = ...,
    baseline: bool = ...,
    progress: bool | None = ...,
) -> Summary: ...


@machine_told()
def run(
    *,
    backbone: str | Mapping[str, Any] | None = None,
    align: Selection | None = None,
    reg: Selection | None = None,
    pair: str | Mapping[str, Any] | None = None,
    recipe: str | None = None,
    config: str | Path | Mapping[str, Any] | None = None,
    set: Mapping[str, Any] | None = None,
    init: str | Path | None = None,
    out: str | Path | None = None,
    seed: int | Iterable[int] | None = None,
    epochs: int | None = None,
    time_budget: str | float | None = None,
    device: str | None = None,
    resume: bool = False,
    force: bool = False,
    baseline: bool = False,
    progress: bool | None = None,
) -> RunResult | Summary:
    """Train and evaluate; the command line's `datk run` in Python.

    Args:
        backbone: name, or a table of `name` and options.
        align: names ("mmd,coral" or a list), or a table of options by name.
        reg: as `align`; "none" for no regularizer where a recipe has some.
        pair: name, or a table of `name` and options. The pair `arrays` takes arrays in memory, too:
            {"name": "arrays", "source_x": x, "source_y": y, "target_x": t}.
        recipe: name of an installed recipe, or the path of a .toml file.
        config: path of a TOML or JSON file, or a dictionary of that form.
        set: options by dotted key, for instance {"train.batch_size": 64}.
        init: folder of a run whose weights training starts from.
        out: the run folder; by default a new one under runs/.
        seed: of every random draw; a list of several makes a run of each, in `out`/seed-N.
        epochs: passes over the source; short for `train.epochs`.
        time_budget: time that training may take, "30m" or seconds; short for `train.time_budget`.
        device: auto, cpu, cuda, cuda:N or mps.
        resume: go on with the run in `out`, whose options are its own again where nothing else is said; start
            it if there is none.
        force: replace the run in `out`.
        baseline: train source-only, too, in `out`/baseline, where it is not there yet; `baseline` of the
            result is what it found.
        progress: whether to show how it goes, on standard error; by default where that is a terminal, and in
            a notebook.

    Returns:
        What result.json holds; `result.folder` is the run folder. Of several seeds what summary.json holds:
        means and deviations; `summary.results` are the results.

    Raises:
        DatkError: for any mistake in the arguments or the data.
    """
    seeds = None if seed is None else _seeds(seed)
    several = isinstance(seed, Iterable)
    if resume and force:
        raise ConfigError("resume goes on with a run and force replaces it; choose one")
    if resume:
        if out is None:
            raise ConfigError("resume needs out, the folder of the run to go on with")
        if recipe is None and config is None and Path(out).is_dir():  # otherwise it starts here
            config = recorded_config(Path(out), seeds)
    experiment = resolve(
        recipe=recipe,
        config=config,
        overrides=set or {},
        selectors={
            "backbone": backbone,
            "align": align,
            "reg": reg,
            "pair": pair,
            "init": None if init is None else str(init),
            "seed": seeds[0] if seeds else None,
            "epochs": epochs,
            "time_budget": time_budget,
            "device": device,
        },
    )
    seeds = seeds or [experiment.config.seed]
    options: dict[str, Any] = {"resume": resume, "force": force, "reporters": _reporters(progress)}

    def started(folder: Path) -> RunResult | Summary:
        if baseline:
            demand_place(folder)
        in_folders = several or (seed is not None and bool(seeds_in(folder)))
        summary: Summary | None = None
        if in_folders:
            summary = execute_seeds(experiment, seeds, folder, **options)
            results = summary.results
        else:
            results = [execute(experiment, folder, **options)]
        if baseline:
            ways = {"force": force, "reporters": options["reporters"]}
            execute_baseline(experiment, results, folder, several=in_folders, **ways)
        if summary is not None and several:
            return summary
        return next(result for result in results if result.seed == seeds[0])

    with processes.joined(experiment.config.device):
        if out is not None:
            return started(Path(out))
        with new_folder(experiment, seeds) as folder:
            return started(folder)


def _seeds(seed: int | Iterable[int]) -> list[int]:
    """One seed or several, as a list. Raises `ConfigError` for what are none, and for one named twice."""
    given = seed if isinstance(seed, Iterable) else [seed]
    try:
        seeds = [operator.index(each) for each in given]
    except TypeError:
        seeds = []
    if not seeds or min(seeds) < 0 or len({*seeds}) < len(seeds):
        raise ConfigError(f"seed={seed!r}: give a whole number from 0, or several, each once")
    return seeds


def _reporters(progress: bool | None) -> list[Reporter]:
    if progress is None:
        on_terminal = sys.stderr is not None and sys.stderr.isatty()
        progress = on_terminal or hasattr(builtins, "__IPYTHON__")
    return shown.reporters(quiet=not (progress and processes.leads()))
