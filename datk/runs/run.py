"""A run from configuration to result: what `datk run` and `datk.run` do."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from datk.base import processes
from datk.base.devices import describe_device, resolve_device, reusing_memory
from datk.base.errors import ConfigError, DatkError, RunError
from datk.base.rng import reproducible
from datk.base.version import __version__
from datk.config.faults import machine_told
from datk.config.resolve import Experiment
from datk.data.dataset import prepare
from datk.interfaces import DomainPair
from datk.runs import alarms
from datk.runs.again import CORRECTED, labels_changed
from datk.runs.candidates import VOTE, demand_one_model
from datk.runs.evaluate import Evaluation, evaluation, inform
from datk.runs.folder import RunFolder
from datk.runs.hooks import Hooks
from datk.runs.oracle import Oracle
from datk.runs.result import RunResult
from datk.runs.vote import execute_vote
from datk.training.checkpoints import weights_checksum
from datk.training.class_weights import balanced
from datk.training.gather import sync_batch_norm
from datk.training.loop import Fit, Trainer
from datk.training.objective import Objective
from datk.training.report import FileReporter, Reporter, Reporters
from datk.training.schedules import epochs
from datk.training.signs import Look
from datk.training.warm_start import about, compare, initialize, load_initial


@machine_told()
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
    if resume and force:
        raise ConfigError("resume goes on with a run and force replaces it; choose one")
    device = resolve_device(processes.own_device(experiment.config.device))
    folder = RunFolder(out, writes=processes.leads())
    with folder.locked():
        if resume:
            experiment = folder.as_begun(experiment)
        folder.check(experiment, resume=resume, force=force)
        processes.wait()  # nobody writes into the folder before all have looked
        done = folder.result() if resume and not folder.longer else None
        corrected = False
        if done is not None and not folder.moved:
            complete = f"{out} is complete already"
            try:
                if pair is None and done.answers_sha256 is not None:
                    pair = experiment.pair.cls(experiment.pair.config)
                corrected = pair is not None and labels_changed(done, experiment, pair)
            except DatkError as error:
                complete += f"; whether the target's labels are still the same cannot be seen ({error})"
            if not corrected:
                Reporters(reporters).tell("note", complete)
                return done
        if pair is None:
            pair = experiment.pair.cls(experiment.pair.config)
        ways = {"resume": resume, "force": force}
        if VOTE in experiment.config.align:
            return execute_vote(experiment, folder, pair, device, reporters, execute, **ways)
        with (
            _computing(device, experiment),  # around reading the data, too
            Run(experiment, folder, pair, device, reporters, **ways) as run,
        ):
            if done is not None:  # the data are the same; scored with the pair's new options or labels
                if corrected:
                    run._note(CORRECTED)
                return run.finish(_as_trained(done))
            return run.finish(run.trainer.fit())


@contextmanager
def _computing(device: torch.device, experiment: Experiment) -> Iterator[None]:
    """How kernels are chosen and memory is held during a run."""
    try:
        with reproducible(device, experiment.config.train.deterministic), reusing_memory(device):
            yield
    except torch.cuda.OutOfMemoryError as error:
        advice = "lower train.batch_size or data.memory_gb"
        raise RunError(f"out of memory on {device}; {advice}") from error


class Run:
    """One run that is open: its data, its model and its folder, which the caller has locked.

    Raises:
        DatkError: data, model or folder cannot be used.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: RunFolder,
        pair: DomainPair,
        device: torch.device,
        reporters: Sequence[Reporter],
        *,
        resume: bool,
        force: bool,
    ) -> None:
        self.resume = resume
        self.experiment, self.folder, self.device = experiment, folder, device
        config = experiment.config
        self.hooks = Hooks(config.hooks)
        if config.init is not None:
            demand_one_model(config.init)
        initial = load_initial(config.init) if config.init is not None else None
        task = experiment.task.cls(experiment.task.config)
        self.data = data = prepare(pair, task, config, device, experiment.positive)
        inherits = config.init_normalization == "inherited"
        folder.files.about = about(data.info)
        self.unseen = None if initial is None else compare(initial, data.info, inherits)
        """What could not be compared with the run that this one starts from."""
        if initial is not None and inherits:
            data.inherit(initial.standardizers)
        sizes = data.training.source_size, data.training.target_size
        self.objective = Objective(experiment, task, data.info, *sizes)
        if initial is not None:
            if self.objective.backbone.by_domain:
                compare(initial, data.info, by_source=True)
            initialize(self.objective, initial)
        if config.train.class_weights == "balanced":
            self.objective.weigh_classes(balanced(data.training.labels, len(data.info.classes)))
        self.objective.set_up(config.seed)
        self.objective.place(device, config.train.memory_format)
        self.selector = experiment.select.cls(experiment.select.config, task)
        self.informed = type(self.selector) is Oracle  # not one that is built on it
        """Whether the selector was given target labels."""
        self.selection_sha256 = None
        if isinstance(self.selector, Oracle) and self.informed:
            self.selection_sha256 = inform(self.selector, data)

        processes.demand_same(f"{config.model_dump(mode='json')} {data.checksum}", "configuration and data")
        folder.open(experiment, resume=resume, force=force)
        folder.write_record(
            data.splits.arrays(),
            data.checksum,
            device,
            None if initial is None else initial.sha256,
            self.hooks.loaded,
            selection_sha256=self.selection_sha256,
        )
        if not folder.longer:
            folder.take_over(experiment)
        processes.wait()  # for the one that writes
        log = [FileReporter(folder.path / "log.txt")] if processes.leads() else []
        self.report = Reporters([*log, *reporters])
        self.notes: list[str] = []
        self.alarms = alarms.Alarms(self.report)
        self.adapts = any(term.needs_target for term in self.objective.loss_terms.values())
        """Whether a term of the loss looks at the target."""

    def __enter__(self) -> "Run":
        """Tell that it starts, and make the trainer."""
        config, data = self.experiment.config, self.data
        with ExitStack() as stack:
            stack.callback(self.report.tell, "stopped")
            self.hooks.notify("run_started", folder=self.folder.path, config=config.model_dump(mode="json"))
            steps = data.training.steps(self.objective.passes)
            length = epochs(config.train, steps)
            title = _title(self.experiment, self.objective.backbone_label)
            self.report.tell("started", title, length, length * steps)
            for note in (*data.pair.notes, *data.splits.notes, *data.notes, *self.folder.notes()):
                self._note(note)
            if self.unseen:
                self._note(self.unseen)
            if processes.size() > 1 and config.train.sync_batch_norm:
                sync_batch_norm(self.objective, self._note)
            self.alarms.add(self._first_alarms())
            hooks, path, folder, experiment = self.hooks, self.folder.path, self.folder, self.experiment
            raised, training, classes, adapts = self.alarms, data.training, data.info.classes, self.adapts
            weighed = config.train.label_shift == "estimate"
            self.trainer = Trainer(
                self.objective,
                data.standardizers,
                data.training,
                self.selector,
                config.train,
                config.seed,
                self.folder.files,
                self.report,
                # Not of self, from where the answers can be reached: the trainer must not have them.
                lambda record: hooks.notify("epoch_ended", folder=path, record=record),
                lambda look: raised.add(alarms.label_shift(look, training, classes, adapts, weighed)),
                resume=self.resume,
                on_longer=(lambda: folder.take_over(experiment)) if folder.longer else None,
            )
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Tell that it ended, well or not."""
        self.report.tell("stopped")

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self.report.tell("note", text)

    def _first_alarms(self) -> list[alarms.Alarm]:
        """What can be said before anything is trained."""
        data, classes = self.data.training, self.data.task.predicts_classes
        rows = {
            "source validation": len(data.source.split.validation),
            "source test": len(data.source.split.test),
            "target test": len(data.target.split.test),
        }
        raised = alarms.few_rows(rows, classes)
        raised += alarms.small_batch(data.source_batch, data.target_batch if self.adapts else None)
        if self.experiment.config.data.standardize == "source":
            raised += alarms.far_target(data)
        return raised

    def _looked_at(self, fit: Fit, found: Evaluation) -> Fit:
        """With a look at the end, if none was taken while training, as the target was not to be read then."""
        if fit.look is not None or not self.objective.says_classes:
            return fit
        of_source, of_target = (
            torch.from_numpy(found.outputs[part].logits)
            for part in (("source", "validation"), ("target", "train"))
        )
        return replace(fit, look=self.trainer.signs.look_at(of_source, of_target))

    def _last_alarms(self, fit: Fit, found: Evaluation) -> list[alarms.Alarm]:
        """What can be said of the selected network."""
        data, classes = self.data.training, self.data.info.classes
        raised = alarms.idle_terms(fit.pulls, self.objective.loss_terms)
        steps = fit.epochs * data.steps(self.objective.passes)
        raised += alarms.last_epoch(fit.late_fall, steps)
        scored = found.target_labels.get("scored", 0)
        if scored < len(data.target.split.test):
            raised += alarms.few_rows({"labelled target test": scored} if scored else {}, bool(classes))
        if classes and fit.look is not None:
            weighed = self.experiment.config.train.label_shift == "estimate"
            raised += alarms.label_shift(fit.look, data, classes, self.adapts, weighed)
            rows = data.labels.bincount(minlength=len(classes)).tolist()
            raised += alarms.collapse(found.outputs["target", "train"], rows, fit.look, self.adapts)
        return raised

    def finish(self, fit: Fit) -> RunResult:
        """Evaluate the selected weights of what was trained, and record the result."""
        weights = self.trainer.load_selected()
        found = evaluation(self.objective.predictor(), self.data)
        self.hooks.notify("evaluated", folder=self.folder.path, metrics=found.metrics)
        # Of rows, some things are known only after they were read.
        for note in (*(note for note in self.data.notes if note not in self.notes), *found.notes):
            self._note(note)
        fit = self._looked_at(fit, found)
        self.alarms.add(self._last_alarms(fit, found))
        if self.informed:
            same = ", those of the rows that are scored" * self.data.splits.all_target_rows
            self._note(f"the epoch was chosen with target labels{same} (oracle): an upper bound, no method")
        limit = self.experiment.config.train.time_budget
        if limit is not None and fit.epochs < (wanted := self.trainer.budget.most):
            self._note(
                f"there was time for {fit.epochs} of {wanted} epochs (train.time_budget={limit:g} seconds); "
                "on another machine or beside other work it is another number, and a seed gives other weights"
            )
        experiment, config = self.experiment, self.experiment.config
        result = self.folder.finish(
            RunResult(
                datk=__version__,
                pair=experiment.pair.label,
                backbone=self.objective.backbone_label,
                align=",".join(chosen.label for chosen in experiment.align),
                reg=[chosen.label for chosen in experiment.reg],
                task=experiment.task.reference,
                seed=config.seed,
                split=self.data.splits.rule,
                standardize=config.data.standardize,
                selected_by=experiment.select.label,
                uses_target_labels=self.informed,
                epochs=fit.epochs,
                selected_epoch=fit.selected_epoch,
                seconds=round(fit.seconds, 3),
                seconds_per_epoch=round(fit.seconds / fit.epochs, 4),
                device=describe_device(self.device),
                threads=torch.get_num_threads(),
                weights_sha256=weights_checksum(weights),
                data_sha256=self.data.checksum,
                metrics=found.metrics,
                classes=list(self.data.info.classes),
                positive=self.data.info.positive_class,
                targets=list(self.data.info.targets),
                class_counts=found.class_counts,
                target_labels=found.target_labels,
                answers_sha256=found.answers_sha256,
                selection_sha256=self.selection_sha256,
                hooks=self.folder.hooks(),
                predicted_shares=dict(
                    zip(self.data.info.classes, fit.look.shares if fit.look else (), strict=False)
                ),
                information=fit.look.information if fit.look else None,
                pulls=fit.pulls,
                late_fall=round(fit.late_fall, 4),
                alarms=self.alarms.raised,
                notes=self.notes,
            ),
            found.outputs,
        )
        recorded = result.model_dump(mode="json")
        self.hooks.notify("run_finished", folder=self.folder.path, result=recorded)
        return result


def _as_trained(done: RunResult) -> Fit:
    """What the training of a completed run did."""
    look = None
    if done.information is not None:
        look = Look(list(done.predicted_shares.values()), done.information)
    return Fit(done.epochs, done.selected_epoch, done.seconds, look, done.pulls, done.late_fall)


def _title(experiment: Experiment, backbone: str) -> str:
    terms = " + ".join(chosen.label for chosen in experiment.terms)
    return f"{experiment.pair.label}: {backbone} with {terms}, seed {experiment.config.seed}"
