"""A run from configuration to result: what `datk run` and `datk.run` do."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from datk import __version__, distributed
from datk.config import Experiment, resolve
from datk.data import open_pair
from datk.devices import resolve_device, reusing_memory
from datk.errors import ConfigError, RunError, naming_seed
from datk.files import write_json
from datk.interfaces import DomainPair
from datk.report import Reporter
from datk.rng import reproducible
from datk.runs import RunFolder, RunResult, WatchedFolder
from datk.session import opened
from datk.together import fit_together


def run(
    *,
    backbone: str | Mapping[str, Any] | None = None,
    align: str | Iterable[str] | Mapping[str, Any] | None = None,
    reg: str | Iterable[str] | Mapping[str, Any] | None = None,
    pair: str | Mapping[str, Any] | None = None,
    recipe: str | None = None,
    config: str | Path | Mapping[str, Any] | None = None,
    set: Mapping[str, Any] | None = None,
    init: str | Path | None = None,
    out: str | Path | None = None,
    seed: int | None = None,
    epochs: int | None = None,
    device: str | None = None,
    resume: bool = False,
    force: bool = False,
) -> RunResult:
    """Train and evaluate once; the command line's `datk run` in Python.

    Args:
        backbone: name, or a table of `name` and options.
        align: names ("mmd,coral" or a list), or a table of options by name.
        reg: as `align`; "none" for no regularizer where a recipe has some.
        pair: name, or a table of `name` and options.
        recipe: name of an installed recipe, or the path of a .toml file.
        config: path of a TOML or JSON file, or a dictionary of that form.
        set: options by dotted key, for instance {"train.batch_size": 64}.
        init: folder of a run whose weights training starts from.
        out: the run folder; by default a new one under runs/.
        seed: of every random draw.
        epochs: passes over the source; short for `train.epochs`.
        device: auto, cpu, cuda, cuda:N or mps.
        resume: go on with the run in `out`.
        force: replace the run in `out`.

    Returns:
        What result.json holds; `result.folder` is the run folder.

    Raises:
        DatkError: for any mistake in the arguments or the data.
    """
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
            "seed": seed,
            "epochs": epochs,
            "device": device,
        },
    )
    with distributed.joined(experiment.config.device):
        folder = default_folder(experiment) if out is None else Path(out)
        return execute(experiment, folder, resume=resume, force=force)


def default_folder(experiment: Experiment) -> Path:
    """A new folder under runs/, named for the time and the components."""
    labels = [chosen.label for chosen in (experiment.backbone, *experiment.align, *experiment.reg)]
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = re.sub(r"[^\w.+-]+", "-", f"{stamp}-{experiment.pair.label}-{'-'.join(labels)}")
    path, number = Path("runs") / name, 1
    while path.exists():
        number += 1
        path = Path("runs") / f"{name}-{number}"
    return Path(distributed.agree(str(path)))


def execute(
    experiment: Experiment,
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
    reporters: Sequence[Reporter] = (),
    pair: DomainPair | None = None,
) -> RunResult:
    """Train, evaluate and record one resolved experiment in the folder `out`.

    Args:
        reporters: who is told while it goes on, besides log.txt.
        pair: the experiment's pair if it has been made already, as for several seeds.

    Raises:
        DatkError: the data, the folder or the device cannot be used, or training failed.
    """
    device = resolve_device(distributed.own_device(experiment.config.device))
    folder = _checked(experiment, out, resume=resume, force=force)
    distributed.wait()  # nobody writes into the folder before all have looked
    if resume and (done := folder.result()):
        for reporter in reporters:
            reporter.note(f"{out} is complete already")
        return done
    if pair is None:
        pair = experiment.pair.cls(experiment.pair.config)
    with (
        _computing(device, experiment),
        opened(experiment, folder, pair, device, reporters, force=force) as session,
    ):
        return session.finish(session.trainer.fit())


def _checked(experiment: Experiment, out: Path, *, resume: bool, force: bool) -> RunFolder:
    folder = RunFolder(out) if distributed.leads() else WatchedFolder(out)
    folder.check(experiment.config.model_dump(mode="json"), resume=resume, force=force)
    return folder


@contextmanager
def _computing(device: torch.device, experiment: Experiment) -> Iterator[None]:
    """How kernels are chosen and memory is held during a run."""
    try:
        with reproducible(device, experiment.config.train.deterministic), reusing_memory(device):
            yield
    except torch.cuda.OutOfMemoryError as error:
        advice = "lower train.batch_size or data.memory_gb"
        raise RunError(f"out of memory on {device}; {advice}") from error


def execute_seeds(
    experiment: Experiment,
    seeds: Sequence[int],
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
    reporters: Sequence[Reporter] = (),
) -> list[RunResult]:
    """One run per seed in `out`/seed-N, and their means in `out`/summary.json; with `train.together` all are
    trained as one program. Raises as `execute`."""
    runs = {
        out / f"seed-{seed}": replace(experiment, config=experiment.config.model_copy(update={"seed": seed}))
        for seed in seeds
    }
    together = experiment.config.train.together
    if together and distributed.size() > 1:
        raise ConfigError("train.together is for one process; start it without torchrun")
    for folder, one in runs.items():
        _checked(one, folder, resume=resume, force=force)
    pair = experiment.pair.cls(experiment.pair.config)
    if together:
        results = _execute_together(runs, pair, resume=resume, force=force, reporters=reporters)
    else:
        results = []
        for folder, one in runs.items():
            with naming_seed(one.config.seed):
                results.append(
                    execute(one, folder, resume=resume, force=force, reporters=reporters, pair=pair)
                )
    summary = {"datk": __version__, "seeds": list(seeds), "metrics": summarize(results)}
    if distributed.leads():
        write_json(out / "summary.json", summary)
    return results


def _execute_together(
    runs: Mapping[Path, Experiment],
    pair: DomainPair,
    *,
    resume: bool,
    force: bool,
    reporters: Sequence[Reporter],
) -> list[RunResult]:
    """Those that are complete are left as they are. The first of the others is shown while it goes on."""
    results = {path: done for path in runs if resume and (done := RunFolder(path).result())}
    rest = {path: one for path, one in runs.items() if path not in results}
    if rest:
        first = next(iter(rest.values()))
        device = resolve_device(first.config.device)
        rows = open_pair(pair, device, first.config.data.memory_gb)
        with _computing(device, first), ExitStack() as stack:
            sessions = []
            for path, one in rest.items():
                beside = [other.config.seed for other in rest.values() if other is not one]
                shown = reporters if one is first else ()
                opening = opened(
                    one, RunFolder(path), pair, device, shown, force=force, rows=rows, beside=beside
                )
                sessions.append(stack.enter_context(opening))
            fits = stack.enter_context(closing(fit_together([session.trainer for session in sessions])))
            for path, session, fit in zip(rest, sessions, fits, strict=True):
                results[path] = session.finish(fit)
    return [results[path] for path in runs]


def summarize(results: Sequence[RunResult]) -> dict[str, dict[str, dict[str, dict[str, float | None]]]]:
    """Mean and sample standard deviation over runs: domain -> part -> metric -> {mean, std}.

    A metric that is None in any run has None for both; the deviation of a single run is None.
    """
    summary: dict[str, dict[str, dict[str, dict[str, float | None]]]] = {}
    for domain, parts in results[0].metrics.items():
        for part, metrics in parts.items():
            for name in metrics:
                values = [result.metrics[domain][part][name] for result in results]
                known = [float(value) for value in values if value is not None]
                complete = len(known) == len(values)
                summary.setdefault(domain, {}).setdefault(part, {})[name] = {
                    "mean": fmean(known) if complete else None,
                    "std": stdev(known) if complete and len(known) > 1 else None,
                }
    return summary
