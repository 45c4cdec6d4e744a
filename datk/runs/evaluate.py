"""The only reader of target labels."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from datk.base.errors import ConfigError, RunError
from datk.data.contract import checked_labels
from datk.data.dataset import Dataset, Domain
from datk.data.splits import RowNumbers, groups_of
from datk.interfaces import DomainPair
from datk.runs.labels import (
    Counts,
    Known,
    checksum,
    class_counts,
    known,
    plain,
    undefined_scores,
    unknown_labels,
)
from datk.runs.metrics import Metrics
from datk.runs.oracle import Oracle
from datk.runs.outputs import PartOutputs
from datk.training.predict import predict

Said = Callable[[str, str, RowNumbers], npt.NDArray[np.float32]]
"""What is said of rows [n] of a domain's part: logits [n, K]."""


@dataclass(frozen=True)
class Evaluation:
    """What a trained network is worth, and on which rows."""

    metrics: dict[str, dict[str, Metrics]]
    """By domain and part; `target` is empty where no target label is known. Of several sources each has its
    metrics, too."""
    class_counts: Counts
    """Rows of each class in the parts of the domains, of the target those that are scored; empty if numbers
    are predicted."""
    target_labels: dict[str, int]
    """Test rows of the target that are scored, that have no label, and that are of a class which the source
    does not have."""
    answers_sha256: str
    """Checksum of the labels that the target was scored by."""
    notes: tuple[str, ...]
    """What must be said of the numbers."""
    outputs: dict[tuple[str, str], PartOutputs]
    """What the network said of the rows, by domain and part."""


def evaluate(predictor: nn.Module, dataset: Dataset) -> dict[str, dict[str, Metrics]]:
    """The metrics of `evaluation`."""
    return evaluation(predictor, dataset).metrics


def evaluation(predictor: nn.Module, dataset: Dataset) -> Evaluation:
    """Score what a network says of the source's validation and test rows and the target's test rows.

    Raises:
        DataError: answers that are no labels of the task.
        RunError: an output of the network that is not finite.
    """

    def said(domain: str, part: str, rows: RowNumbers) -> npt.NDArray[np.float32]:
        read = dataset.training.source if domain == "source" else dataset.training.target
        if (domain, part) == ("target", "train"):  # which are not scored
            return predict(predictor, read, rows)
        return _finite_logits(predictor, read, rows)

    return evaluation_of(said, dataset)


def evaluation_of(said: Said, dataset: Dataset) -> Evaluation:
    """As `evaluation`, of what is said by something else than a network of one's own. What is said of target
    rows that are not scored may be anything."""
    source, target = dataset.training.source, dataset.training.target
    metrics: dict[str, dict[str, Metrics]] = {"source": {}, "target": {}}
    counts: Counts = {}
    kept: dict[tuple[str, str], PartOutputs] = {}

    def score(domain: str, part: str, logits: npt.NDArray[np.float32], labels: npt.NDArray[Any]) -> None:
        metrics.setdefault(domain, {})[part] = _scored(dataset, logits, labels)
        count(domain, part, labels)

    def count(domain: str, part: str, labels: npt.NDArray[Any]) -> None:
        if dataset.task.predicts_classes and labels.ndim == 1:
            counts.setdefault(domain, {})[part] = class_counts(dataset.info.classes, labels)

    for part in ("train", "validation", "test"):
        rows = getattr(source.split, part)
        labels = dataset.labels[rows]
        logits = None if part == "train" else said("source", part, rows)
        if logits is not None:
            kept["source", part] = PartOutputs(rows, logits, labels, groups_of(source.rows.samples)[rows])
        several = dataset.pair.sources if len(dataset.pair.sources) > 1 else ()
        numbers = source.numbers.numpy()[rows]
        everyone = np.ones(len(rows), bool)
        own = {f"source: {name}": numbers == number for number, name in enumerate(several)}
        for domain, mask in {"source": everyone, **own}.items():
            if logits is None:
                count(domain, part, labels[mask])
            elif mask.any():
                score(domain, part, logits[mask], labels[mask])
    rows, groups = target.split.train, groups_of(target.rows.samples)
    kept["target", "train"] = PartOutputs(rows, said("target", "train", rows), None, groups[rows])
    told, answers_sha256 = _told(dataset, target.split.test)
    if told is None or not told.scored.any():
        notes = ["the target has no labels: nothing on the target could be scored"]
        if told is not None:
            notes = [
                "no test row of the target has a label of a class of the source: nothing could be scored"
            ]
    else:
        notes = unknown_labels(told.counts)
        rows = target.split.test[told.scored]
        logits = said("target", "test", rows)
        kept["target", "test"] = PartOutputs(rows, logits, told.values, groups[rows])
        score("target", "test", logits, told.values)
    return Evaluation(
        metrics=metrics,
        class_counts=counts,
        target_labels={} if told is None else told.counts,
        answers_sha256=answers_sha256,
        notes=(*notes, *undefined_scores(counts, dataset.info.positive_class)),
        outputs=kept,
    )


def answers_checksum(pair: DomainPair, predicts_classes: bool, rows: RowNumbers) -> str:
    """Checksum of the labels that the given target rows have now, `Evaluation.answers_sha256`."""
    return checksum(_answers(pair, predicts_classes, np.unique(rows)))


def inform(oracle: Oracle, dataset: Dataset) -> str:
    """Hand the labels of the target's validation rows to the selector that may see them; their checksum.
    Raises `ConfigError` if there are none."""
    told, answers_sha256 = _told(dataset, dataset.training.target.split.validation)
    if told is None:
        raise ConfigError("train.select=oracle needs target labels, and this pair has none")
    if not told.scored.any():
        raise ConfigError(
            "train.select=oracle needs target labels, and this pair has none for the validation rows of the "
            "target that the source has classes for; choose another selector"
        )
    oracle.answers = _encoded(dataset, told.values)
    oracle.scored = torch.from_numpy(told.scored)
    return answers_sha256


def _finite_logits(predictor: nn.Module, domain: Domain, rows: RowNumbers) -> npt.NDArray[np.float32]:
    logits = predict(predictor, domain, rows)
    if bad := int((~np.isfinite(logits)).any(axis=1).sum()):
        raise RunError(
            f"the network's output is not finite for {bad} of {len(rows)} rows of the {domain.name}; "
            "look for extreme values there, or lower train.lr"
        )
    return logits


def _scored(dataset: Dataset, logits: npt.NDArray[np.float32], labels: npt.NDArray[Any]) -> Metrics:
    return dataset.task.score(torch.from_numpy(logits), torch.from_numpy(np.array(labels)))


def _encoded(dataset: Dataset, labels: npt.NDArray[Any]) -> Tensor:
    return dataset.task.encode(torch.from_numpy(np.array(labels)))


def _answers(pair: DomainPair, predicts_classes: bool, rows: RowNumbers) -> Any:
    """Labels of target rows in the order of their file."""
    return plain(pair.answers(rows), predicts_classes)


def _told(dataset: Dataset, rows: RowNumbers) -> tuple[Known | None, str]:
    """What is known of target rows, which may be in any order, and the checksum of it; None if nothing is.
    The pair is asked in the order of its file. Raises `DataError` for answers that are no labels."""
    in_file, place = np.unique(rows, return_inverse=True)
    classes = dataset.task.predicts_classes
    answers = _answers(dataset.pair, classes, in_file)
    if answers is None:
        return None, checksum(None)
    if not isinstance(answers, np.ndarray) or answers.shape[:1] != rows.shape:
        answers = _checked(dataset, answers, len(rows))
    told = known(answers, classes)
    if told.scored.any():
        labels = _checked(dataset, told.values, int(told.scored.sum()))
        whole = np.zeros((len(rows), *labels.shape[1:]), labels.dtype)
        whole[told.scored] = labels
        scored = told.scored[place]
        told = replace(told, scored=scored, values=whole[place][scored])
    return told, checksum(answers)


def _checked(dataset: Dataset, answers: Any, rows: int) -> npt.NDArray[Any]:
    return checked_labels(answers, rows, dataset.task, dataset.info, dataset.pair, "target")
