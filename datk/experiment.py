"""A run from configuration to result: what `datk run` and `datk.run` do."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from datk import __version__, distributed
from datk.batchnorm import sync_batch_norm
from datk.config import Experiment, resolve
from datk.data import Dataset, prepare
from datk.devices import describe_device, resolve_device, reusing_memory
from datk.errors import RunError
from datk.evaluate import evaluate
from datk.files import write_json
from datk.hooks import Hooks
from datk.interfaces import DomainPair
from datk.objective import Objective
from datk.report import FileReporter, Reporter, Reporters
from datk.rng import reproducible
from datk.runs import RunFolder, RunResult, WatchedFolder, weights_checksum
from datk.train import Trainer
from datk.transfer import initialize, load_initial


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
    config = experiment.config
    record = config.model_dump(mode="json")
    device = resolve_device(distributed.own_device(config.device))
    folder = RunFolder(out) if distributed.leads() else WatchedFolder(out)
    folder.check(record, resume=resume, force=force)
    distributed.wait()  # nobody writes into the folder before all have looked
    if resume and (done := folder.result()):
        for reporter in reporters:
            reporter.note(f"{out} is complete already")
        return done
    initial = load_initial(config.init) if config.init is not None else None
    if pair is None:
        pair = experiment.pair.cls(experiment.pair.config)
    try:
        with reproducible(device, config.train.deterministic), reusing_memory(device):
            inherited = (
                initial.standardizers if initial and config.init_normalization == "inherited" else None
            )
            data = prepare(pair, config.data, config.train, config.seed, device, inherited, config.split)
            training = data.training
            objective = Objective(
                experiment, data.info, training.source_size, training.target_size, config.seed
            )
            if initial is not None:
                initialize(objective, initial)
            objective.place(device, config.train.memory_format)
            if distributed.size() > 1:
                distributed.demand_same(f"{record} {data.checksum}", "configuration and data")
                if config.train.sync_batch_norm:
                    sync_batch_norm(objective)
            with folder.locked():
                folder.open(record, force=force)
                folder.write_record(data.splits.arrays(), data.checksum, device)
                distributed.wait()  # for the one that writes
                report = Reporters([FileReporter(out / "log.txt"), *reporters] if distributed.leads() else [])
                return _train_and_evaluate(experiment, data, objective, folder, report)
    except torch.cuda.OutOfMemoryError as error:
        raise RunError(f"out of memory on {device}; lower train.batch_size or data.memory_gb") from error


def _train_and_evaluate(
    experiment: Experiment, data: Dataset, objective: Objective, folder: RunFolder, report: Reporters
) -> RunResult:
    config = experiment.config
    hooks = Hooks()
    hooks.notify("run_started", folder=folder.path, config=config.model_dump(mode="json"))
    steps = config.train.epochs * data.training.steps
    report.tell("started", _title(experiment), config.train.epochs, steps)
    try:
        notes = [*data.pair.notes, *data.splits.notes]
        for note in notes:
            report.tell("note", note)
        trainer = Trainer(
            objective,
            data.standardizers,
            data.training,
            config.train,
            config.seed,
            folder,
            report,
            lambda record: hooks.notify("epoch_ended", folder=folder.path, record=record),
        )
        fit = trainer.fit()
        weights = trainer.load_selected()
        metrics = evaluate(objective.backbone, data)
        hooks.notify("evaluated", folder=folder.path, metrics=metrics)
        if not metrics["target"]:
            notes.append("the target has no labels: nothing on the target could be scored")
            report.tell("note", notes[-1])
    finally:
        report.tell("stopped")
    result = folder.finish(
        RunResult(
            datk=__version__,
            pair=experiment.pair.label,
            backbone=experiment.backbone.label,
            align=",".join(chosen.label for chosen in experiment.align),
            reg=[chosen.label for chosen in experiment.reg],
            seed=config.seed,
            split=data.splits.rule,
            selected_by=config.train.select,
            uses_target_labels=False,
            epochs=fit.epochs,
            selected_epoch=fit.selected_epoch,
            seconds=round(fit.seconds, 3),
            seconds_per_epoch=round(fit.seconds / fit.epochs, 4),
            device=describe_device(trainer.device),
            weights_sha256=weights_checksum(weights),
            data_sha256=data.checksum,
            metrics=metrics,
            notes=notes,
        )
    )
    hooks.notify("run_finished", folder=folder.path, result=result.model_dump(mode="json"))
    return result


def _title(experiment: Experiment) -> str:
    terms = " + ".join(chosen.label for chosen in (*experiment.align, *experiment.reg))
    return f"{experiment.pair.label}: {experiment.backbone.label} with {terms}, seed {experiment.config.seed}"


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
        RunFolder(folder).check(one.config.model_dump(mode="json"), resume=resume, force=force)
    pair = experiment.pair.cls(experiment.pair.config)
    results = [
        execute(one, folder, resume=resume, force=force, reporters=reporters, pair=pair)
        for folder, one in runs.items()
    ]
    summary = {"datk": __version__, "seeds": list(seeds), "metrics": summarize(results)}
    if distributed.leads():
        write_json(out / "summary.json", summary)
    return results


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
