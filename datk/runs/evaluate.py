"""The only reader of target labels."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from datk.base.errors import ConfigError, RunError
from datk.data.contract import checked_labels
from datk.data.dataset import Dataset, Domain
from datk.data.splits import RowNumbers
from datk.runs.metrics import Metrics
from datk.runs.oracle import Oracle
from datk.training.predict import predict


def evaluate(predictor: nn.Module, dataset: Dataset) -> dict[str, dict[str, Metrics]]:
    """Metrics on the source's validation and test rows and on the target's test rows.

    `target` is empty where the pair knows no target labels. Of several sources each has its metrics, too.

    Raises:
        DataError: answers that are no labels of the task.
        RunError: an output of the network that is not finite.
    """
    source, target = dataset.training.source, dataset.training.target
    labels = dataset.labels
    result: dict[str, dict[str, Metrics]] = {"source": {}, "target": {}}
    for part, rows in (("validation", source.split.validation), ("test", source.split.test)):
        logits = _finite_logits(predictor, source, rows)
        result["source"][part] = _scored(dataset, logits, labels[rows])
        for number, name in enumerate(dataset.pair.sources) if len(dataset.pair.sources) > 1 else ():
            own = source.numbers.numpy()[rows] == number
            if own.any():
                scored = _scored(dataset, logits[own], labels[rows][own])
                result.setdefault(f"source: {name}", {})[part] = scored
    answers = _answers(dataset, target.split.test)
    if answers is not None:
        logits = _finite_logits(predictor, target, target.split.test)
        result["target"]["test"] = _scored(dataset, logits, answers)
    return result


def inform(oracle: Oracle, dataset: Dataset) -> None:
    """Hand the labels of the target's validation rows to the selector that may see them. Raises `ConfigError`
    if there are none."""
    rows = dataset.training.target.split.validation
    answers = _answers(dataset, rows)
    if answers is None:
        raise ConfigError("train.select=oracle needs target labels, and this pair has none")
    oracle.answers = _encoded(dataset, answers)


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


def _answers(dataset: Dataset, rows: RowNumbers) -> npt.NDArray[Any] | None:
    """Labels of target rows, which may be in any order; the pair is asked in that of its file."""
    in_file, place = np.unique(rows, return_inverse=True)
    answers = dataset.pair.answers(in_file)
    if answers is None:
        return None
    checked = checked_labels(answers, len(in_file), dataset.task, dataset.info, dataset.pair, "target")
    return checked[place]
