"""Checks of domain pairs. They ask for target labels, as else evaluation alone does, and train nothing."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from datk.base.errors import ConfigError, DataError
from datk.config import plugins
from datk.config.models import RunConfig
from datk.data.dataset import prepare
from datk.data.inspection import inspect_pair
from datk.data.published.records import MissingDataError
from datk.interfaces import DomainPair, PairInfo, Task
from datk.runs.labels import checksum, known, plain
from datk.testing.terms import Check
from datk.testing.trial import installed
from datk.training.objective import CPU


def check_pair(cls: type[DomainPair], config: Any) -> Iterator[Check]:
    """Make the data twice, and get them ready for training."""
    try:
        pair = cls(config)
    except ConfigError as error:
        yield f"data not checked, they need options ({error})", None
        return
    except MissingDataError:
        yield "data not checked, they have not been fetched", None
        return
    yield "masks are boolean, groups and domains whole numbers", _types(pair)
    try:
        task = _task(pair)
        data = prepare(pair, task, RunConfig(device="cpu"), CPU)
        next(data.training.batches(0))
    except DataError as error:
        yield "its data can be trained on", str(error)
        return
    yield "its data can be trained on", None
    again = inspect_pair(cls(config), task).checksum
    yield "the same options give the same data", None if again == data.checksum else "they differ"
    yield from _answers(pair, task, data.info)


def _task(pair: DomainPair) -> Task:
    """The first task that says of the pair's labels that they are of its kind: classification, if there are
    classes. Raises `DataError` if there is none."""
    x = tuple(pair.source.x.shape)
    info = PairInfo(x[1:], tuple(pair.classes), tuple(pair.targets), domains=(*pair.sources, "target"))
    names = [plugin.reference for plugin in plugins.find("task")]
    refused: list[DataError] = []
    for name in sorted(names, key=lambda name: name != RunConfig().task["name"]):
        chosen = installed("task", name)
        task: Task = chosen.cls(chosen.config)
        try:
            task.outputs(info)
        except DataError as error:
            refused.append(error)
        else:
            return task
    raise refused[0]


def _types(pair: DomainPair) -> str | None:
    """What must be boolean or whole numbers and is not."""
    faults = []
    for domain, samples in (("source", pair.source), ("target", pair.target)):
        for name, array, kinds in (
            ("test", samples.test, "b"),
            ("groups", samples.groups, "iu"),
            ("domain", samples.domain, "iu"),
        ):
            if array is not None and np.asarray(array).dtype.kind not in kinds:
                wanted = "boolean" if kinds == "b" else "whole numbers"
                faults.append(f"{name} of the {domain} is {np.asarray(array).dtype}, not {wanted}")
    return "; ".join(faults) or None


def _answers(pair: DomainPair, task: Task, info: PairInfo) -> Iterator[Check]:
    """Whether they are labels, and those of the rows that were asked for."""
    rows = np.arange(pair.target.x.shape[0])
    some = rows[::-2].copy()
    everything, others = pair.answers(rows), pair.answers(some)
    if everything is None or others is None:
        known = everything is not None or others is not None
        yield "answers are known for all rows or none", "for some only" if known else None
        return
    everything, others = (np.asarray(plain(given, task.predicts_classes)) for given in (everything, others))
    yield "answers are labels", _no_labels(everything, len(rows), task, info)
    follows = len(everything) == len(rows) and checksum(everything[some]) == checksum(others)
    yield "answers follow the rows asked for", None if follows else "answers(rows) must give a label per row"


def _no_labels(labels: npt.NDArray[Any], rows: int, task: Task, info: PairInfo) -> str | None:
    if labels.shape[:1] != (rows,):
        return f"{rows} rows but answers of shape {list(labels.shape)}"
    try:
        told = known(labels, task.predicts_classes)
        if told.scored.any():
            task.check(told.values, info)
    except DataError as error:
        return str(error)
    return None
