"""A run of runs: candidates are trained one after the other, and those that did not collapse vote.

Nothing here looks at target labels. Those that vote are chosen by what they say of the target's training
rows, of which no labels are kept, and what they say together is scored by `datk.runs.evaluate` afterwards.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from datk.base import processes
from datk.base.devices import describe_device
from datk.base.errors import BusyError, DatkError, RunError
from datk.base.files import remove_empty
from datk.base.text import one_line
from datk.base.version import __version__
from datk.config.resolve import Experiment
from datk.data.dataset import Dataset, prepare
from datk.data.splits import RowNumbers
from datk.interfaces import DomainPair
from datk.runs import outputs
from datk.runs.alarms import Alarm
from datk.runs.auto import members
from datk.runs.candidates import FOLDER, SOURCE_ONLY, candidates_in, is_vote
from datk.runs.evaluate import evaluation_of
from datk.runs.folder import RunFolder, first_weights
from datk.runs.hooks import Hooks
from datk.runs.result import Candidate, RunResult, Vote
from datk.training.label_shift import information
from datk.training.report import FileReporter, Reporter, Reporters

VETO = 0.9
"""Part of the information in source-only's predictions that those of a candidate must have. Information lies
between 0 and ln K whatever the shares of the classes are, so that a part of it means the same for two classes
and for many."""

NOISE = 0.01
"""Nats by which the information in predictions may be less in any case: what a network says that has hardly
learnt anything differs by as much for no reason."""

Logits = npt.NDArray[np.float32]


class Execute(Protocol):
    """`datk.runs.run.execute`."""

    def __call__(
        self,
        experiment: Experiment,
        out: Path,
        *,
        resume: bool,
        reporters: Sequence[Reporter],
        pair: DomainPair,
    ) -> RunResult:
        """Train and record one candidate."""
        ...


# --- the vote ------------------------------------------------------------------------------------------


def soft_vote(logits: Sequence[Logits]) -> Logits:
    """The logarithm of the mean probabilities [N, K] of several logits [N, K]."""
    log_p = torch.stack([torch.from_numpy(each).double().log_softmax(dim=1) for each in logits])
    mean: Logits = (log_p.logsumexp(dim=0) - math.log(len(logits))).float().numpy()
    return mean


def mean_of(predictions: Sequence[Logits]) -> Logits:
    """The mean of several predictions of numbers [N, T]."""
    mean: Logits = np.mean(np.asarray(predictions, np.float64), axis=0).astype(np.float32)
    return mean


def ballot(said: Mapping[str, Logits]) -> list[Candidate]:
    """Which candidates vote, by what each says of the target's unlabelled rows [N, K]; source-only always
    does. Raises `RunError` if what it says is not finite."""
    finite = {name: bool(np.isfinite(logits).all()) for name, logits in said.items()}
    if not finite[SOURCE_ONLY]:
        raise RunError(
            f"what {SOURCE_ONLY} says of the target's training rows is not finite; look for extreme values "
            "there, or lower train.lr"
        )
    found = {name: information(torch.from_numpy(said[name])) for name in said if finite[name]}
    least = min(VETO * found[SOURCE_ONLY], found[SOURCE_ONLY] - NOISE)
    listed = []
    for name in said:
        value, why = found.get(name), ""
        if value is None:
            why = "its predictions for the target are not finite"
        elif value < least:
            why = f"its predictions collapse (IM {value:.2f} < {VETO} x {found[SOURCE_ONLY]:.2f})"
        listed.append(Candidate(name=name, information=value, votes=not why, why=why))
    return listed


def reason(candidates: Sequence[Candidate], classes: bool) -> str:
    """How the candidates came to one prediction, on a line."""
    voters = [candidate.name for candidate in candidates if candidate.votes]
    dropped = [f"{candidate.name} dropped: {candidate.why}" for candidate in candidates if candidate.why]
    how = "soft vote" if classes else "numbers are predicted, so that there is no veto; mean"
    return "; ".join([f"{len(candidates)} candidates", *dropped, f"{how} of {', '.join(voters)}"])


# --- the run -------------------------------------------------------------------------------------------


def execute_vote(
    experiment: Experiment,
    folder: RunFolder,
    pair: DomainPair,
    device: torch.device,
    reporters: Sequence[Reporter],
    execute: Execute,
    *,
    resume: bool,
    force: bool,
) -> RunResult:
    """Train the candidates of an experiment that are not trained yet, and record their vote.

    Args:
        folder: of the run, which the caller has locked and checked.
        execute: what trains one candidate.

    Raises:
        DatkError: data, model or folder cannot be used, or source-only could not be trained.
    """
    if folder.longer:
        raise RunError(
            f"{folder.path} is a vote, which cannot be trained for more epochs; choose another --out"
        )
    config = experiment.config
    chosen, left_out = members(experiment)
    _check_folders(folder.path, chosen, resume=resume, force=force)
    hooks = Hooks(config.hooks)
    task = experiment.task.cls(experiment.task.config)
    data = prepare(pair, task, config, device, experiment.positive)
    init = None if config.init is None else first_weights(config.init)
    processes.demand_same(f"{config.model_dump(mode='json')} {data.checksum}", "configuration and data")
    folder.open(experiment, resume=resume, force=force)
    remove_empty([folder.path / "checkpoints"])  # no weights of its own
    folder.write_record(data.splits.arrays(), data.checksum, device, init, hooks.loaded)
    folder.take_over(experiment)
    processes.wait()  # for the one that writes

    log = [FileReporter(folder.path / "log.txt")] if processes.leads() else []
    told = [_Once(reporter) for reporter in reporters]
    report = Reporters([*log, *told])
    hooks.notify("run_started", folder=folder.path, config=config.model_dump(mode="json"))
    cost = f"{len(chosen)} candidates ({', '.join(chosen)}), about {len(chosen)} times a run"
    report.tell("note", f"auto trains {cost}")
    results, failed = _train(chosen, folder.path / FOLDER, pair, report, told, execute)
    processes.wait()
    said = {name: outputs.read(result.folder) for name, result in results.items()}

    classes = experiment.task.cls.predicts_classes
    listed = (
        ballot({name: parts["target", "train"].logits for name, parts in said.items()})
        if classes
        else [Candidate(name=name, votes=True) for name in said]
    )
    listed += [Candidate(name=name, votes=False, why=why) for name, why in (failed | left_out).items()]
    vote = Vote(candidates=listed, veto=VETO if classes else None, reason=reason(listed, classes))
    voting = {each.name: results[each.name] for each in listed if each.votes}
    result = _scored(experiment, folder, data, device, vote, voting, said, hooks, report)
    hooks.notify("run_finished", folder=folder.path, result=result.model_dump(mode="json"))
    return result


def _check_folders(out: Path, chosen: Mapping[str, Experiment], *, resume: bool, force: bool) -> None:
    """Raise `RunError` if a candidate cannot be trained in its folder, before any is."""
    if (out / FOLDER).exists() and not is_vote(out):
        raise RunError(f"{out / FOLDER} is in the way and no part of the run in {out}; choose another --out")
    candidates_in(out)
    for name, one in chosen.items():
        run = RunFolder(out / FOLDER / name)
        run.check(run.as_begun(one) if resume else one, resume=resume, force=force)


def _train(
    chosen: Mapping[str, Experiment],
    out: Path,
    pair: DomainPair,
    report: Reporters,
    told: Sequence[Reporter],
    execute: Execute,
) -> tuple[dict[str, RunResult], dict[str, str]]:
    """The results of the candidates, and why others have none."""
    results, failed = {}, {}
    for number, (name, one) in enumerate(chosen.items(), 1):
        report.tell("note", f"candidate {number} of {len(chosen)}: {name}")
        try:
            results[name] = execute(one, out / name, resume=True, reporters=told, pair=pair)
        except DatkError as error:
            # What is wrong with the data, the folder or the machine is wrong for all of them; and of several
            # processes none may go on without the others.
            common = isinstance(error, BusyError) or isinstance(error.__cause__, OSError)
            if name == SOURCE_ONLY or common or processes.size() > 1:
                raise
            failed[name] = f"it failed ({one_line(str(error))})"
            report.tell("note", f"{name} is dropped: {failed[name]}")
    return results, failed


def _scored(
    experiment: Experiment,
    folder: RunFolder,
    data: Dataset,
    device: torch.device,
    vote: Vote,
    voting: Mapping[str, RunResult],
    said: Mapping[str, outputs.Parts],
    hooks: Hooks,
    report: Reporters,
) -> RunResult:
    """Score the vote, and record it."""
    together = soft_vote if vote.veto is not None else mean_of

    def say(domain: str, part: str, rows: RowNumbers) -> Logits:
        parts = {name: said[name][domain, part] for name in voting}
        for name, of in parts.items():
            if not np.array_equal(of.rows, rows):
                raise RunError(
                    f"{voting[name].folder} was scored on other rows of the {domain} than the run is now; "
                    "train all again with --force"
                )
        return together([of.logits for of in parts.values()])

    found = evaluation_of(say, data)
    hooks.notify("evaluated", folder=folder.path, metrics=found.metrics)
    report.tell("note", vote.reason)
    first, config = voting[SOURCE_ONLY], experiment.config
    seconds, epochs = (sum(r.seconds for r in voting.values()), max(r.epochs for r in voting.values()))
    checksums = "".join(result.weights_sha256 for result in voting.values())
    return folder.finish(
        RunResult(
            datk=__version__,
            pair=experiment.pair.label,
            backbone=first.backbone,
            align=",".join(chosen.label for chosen in experiment.align),
            reg=[chosen.label for chosen in experiment.reg],
            task=experiment.task.reference,
            seed=config.seed,
            split=data.splits.rule,
            standardize=config.data.standardize,
            selected_by=experiment.select.label,
            uses_target_labels=any(result.uses_target_labels for result in voting.values()),
            epochs=epochs,
            selected_epoch=0,
            seconds=round(seconds, 3),
            seconds_per_epoch=round(seconds / epochs, 4),
            device=describe_device(device),
            threads=torch.get_num_threads(),
            weights_sha256=hashlib.sha256(checksums.encode()).hexdigest(),
            data_sha256=data.checksum,
            metrics=found.metrics,
            classes=list(data.info.classes),
            positive=data.info.positive_class,
            targets=list(data.info.targets),
            class_counts=found.class_counts,
            target_labels=found.target_labels,
            answers_sha256=found.answers_sha256,
            selection_sha256=first.selection_sha256,
            hooks=folder.hooks(),
            vote=vote,
            alarms=[*_alarms(voting)],
            notes=[vote.reason, *_notes(voting)],
        ),
        found.outputs,
    )


def _notes(voting: Mapping[str, RunResult]) -> Iterator[str]:
    """Each note once, with whose it is unless all have it."""
    for note in dict.fromkeys(note for result in voting.values() for note in result.notes):
        yield _whose(note, [name for name, result in voting.items() if note in result.notes], voting)


def _alarms(voting: Mapping[str, RunResult]) -> Iterator[Alarm]:
    """Those of each kind once, as the first has them that has any, with whose they are unless all do."""
    for code in dict.fromkeys(alarm.code for result in voting.values() for alarm in result.alarms):
        raised = [[a for a in result.alarms if a.code == code] for result in voting.values()]
        for alarm in next(filter(None, raised)):
            whose = [name for name, result in voting.items() if alarm in result.alarms]
            yield Alarm(code=code, message=_whose(alarm.message, whose, voting))


def _whose(text: str, names: Sequence[str], voting: Mapping[str, RunResult]) -> str:
    return text if len(names) == len(voting) else f"{', '.join(names)}: {text}"


class _Once(Reporter):
    """Tells a reporter of all candidates, but of what several of them note only once."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.noted: set[str | tuple[str, str]] = set()

    def started(self, title: str, epochs: int, steps: int) -> None:
        self.reporter.started(title, epochs, steps)

    def planned(self, epochs: int, steps: int) -> None:
        self.reporter.planned(epochs, steps)

    def advanced(self, step: int) -> None:
        self.reporter.advanced(step)

    def stepped(self, record: dict[str, Any]) -> None:
        self.reporter.stepped(record)

    def epoch_ended(self, record: dict[str, Any]) -> None:
        self.reporter.epoch_ended(record)

    def note(self, text: str) -> None:
        if text not in self.noted:
            self.noted.add(text)
            self.reporter.note(text)

    def alarm(self, code: str, message: str) -> None:
        if (code, message) not in self.noted:
            self.noted.add((code, message))
            self.reporter.alarm(code, message)

    def stopped(self) -> None:
        self.reporter.stopped()
