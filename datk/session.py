"""One run that is open: its data, its model and its folder, from the first weights to result.json."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from datk import __version__, distributed
from datk.batchnorm import sync_batch_norm
from datk.config import Experiment
from datk.data import Dataset, prepare
from datk.devices import describe_device
from datk.evaluate import evaluate
from datk.hooks import Hooks
from datk.interfaces import DomainPair
from datk.objective import Objective
from datk.report import FileReporter, Reporter, Reporters
from datk.rows import Rows
from datk.runs import RunFolder, RunResult, weights_checksum
from datk.train import Fit, Trainer
from datk.transfer import initialize, load_initial


@contextmanager
def opened(
    experiment: Experiment,
    folder: RunFolder,
    pair: DomainPair,
    device: torch.device,
    reporters: Sequence[Reporter],
    *,
    force: bool,
    rows: tuple[Rows, Rows] | None = None,
    beside: Sequence[int] = (),
) -> Iterator["Session"]:
    """Prepare data and model, and hold the folder while it is written.

    Args:
        rows: of both domains on the device, if several sessions share them.
        beside: other seeds that are trained as one program with this one.

    Raises:
        DatkError: the data or the folder cannot be used.
    """
    config = experiment.config
    record = config.model_dump(mode="json")
    initial = load_initial(config.init) if config.init is not None else None
    inherited = initial.standardizers if initial and config.init_normalization == "inherited" else None
    data = prepare(pair, config.data, config.train, config.seed, device, inherited, config.split, rows)
    sizes = data.training.source_size, data.training.target_size
    objective = Objective(experiment, data.info, *sizes, config.seed)
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
        log = [FileReporter(folder.path / "log.txt")] if distributed.leads() else []
        session = Session(experiment, data, objective, folder, Reporters([*log, *reporters]), beside)
        try:
            yield session
        finally:
            session.report.tell("stopped")


class Session:
    """What `opened` opens."""

    def __init__(
        self,
        experiment: Experiment,
        data: Dataset,
        objective: Objective,
        folder: RunFolder,
        report: Reporters,
        beside: Sequence[int],
    ) -> None:
        self.experiment, self.data, self.objective = experiment, data, objective
        self.folder, self.report = folder, report
        self.hooks = hooks = Hooks()
        config = experiment.config
        hooks.notify("run_started", folder=folder.path, config=config.model_dump(mode="json"))
        steps = config.train.epochs * data.training.steps
        report.tell("started", _title(experiment, beside), config.train.epochs, steps)
        self.notes: list[str] = []
        for note in (*data.pair.notes, *data.splits.notes):
            self._note(note)
        self.trainer = Trainer(
            objective,
            data.standardizers,
            data.training,
            config.train,
            config.seed,
            folder,
            report,
            # Not of self, from where the answers can be reached: the trainer must not have them.
            lambda record: hooks.notify("epoch_ended", folder=folder.path, record=record),
        )

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self.report.tell("note", text)

    def finish(self, fit: Fit) -> RunResult:
        """Evaluate the selected weights of what was trained, and record the result."""
        if fit.together:
            seeds = ", ".join(map(str, fit.together))
            self._note(f"seeds {seeds} were trained together; seconds are those of all")
        weights = self.trainer.load_selected()
        metrics = evaluate(self.objective.backbone, self.data)
        self.hooks.notify("evaluated", folder=self.folder.path, metrics=metrics)
        if not metrics["target"]:
            self._note("the target has no labels: nothing on the target could be scored")
        experiment, config = self.experiment, self.experiment.config
        result = self.folder.finish(
            RunResult(
                datk=__version__,
                pair=experiment.pair.label,
                backbone=experiment.backbone.label,
                align=",".join(chosen.label for chosen in experiment.align),
                reg=[chosen.label for chosen in experiment.reg],
                seed=config.seed,
                split=self.data.splits.rule,
                selected_by=config.train.select,
                uses_target_labels=False,
                epochs=fit.epochs,
                selected_epoch=fit.selected_epoch,
                seconds=round(fit.seconds, 3),
                seconds_per_epoch=round(fit.seconds / fit.epochs, 4),
                device=describe_device(self.trainer.device),
                weights_sha256=weights_checksum(weights),
                data_sha256=self.data.checksum,
                metrics=metrics,
                notes=self.notes,
            )
        )
        recorded = result.model_dump(mode="json")
        self.hooks.notify("run_finished", folder=self.folder.path, result=recorded)
        return result


def _title(experiment: Experiment, beside: Sequence[int]) -> str:
    terms = " + ".join(chosen.label for chosen in (*experiment.align, *experiment.reg))
    seed = f"seed {experiment.config.seed}" + (f" of {len(beside) + 1} together" if beside else "")
    return f"{experiment.pair.label}: {experiment.backbone.label} with {terms}, {seed}"
