"""What must hold of any pair before a run starts, and the checksum of its data."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from datk.base.errors import DataError
from datk.data.rows import chunks, storable
from datk.interfaces import Array, DomainPair, PairInfo, Samples, Task


@dataclass(frozen=True)
class InspectedPair:
    """A pair that may be trained on."""

    info: PairInfo
    checksum: str
    """sha256 over all that training may use: samples, groups and test rows of both, labels of the source."""


def inspect_pair(pair: DomainPair, task: Task, *, finite: bool = True) -> InspectedPair:
    """Check shapes, lengths, labels and values; read every row once.

    Args:
        task: says what labels must be.
        finite: whether all values have to be.

    Raises:
        DataError: naming the domain, what is wrong, how often and where first.
    """
    digest = hashlib.sha256()
    shapes = {}
    for domain, samples in (("source", pair.source), ("target", pair.target)):
        shapes[domain] = _check_shape(domain, samples)
        _check_values(domain, samples.x, digest, finite)
        for array in (samples.groups, samples.test):
            digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    if shapes["source"] != shapes["target"]:
        raise DataError(_difference(shapes["source"], shapes["target"]))
    if pair.shared_groups and (pair.source.groups is None or pair.target.groups is None):
        raise DataError("groups can be shared only if both domains have groups; give both, or share none")
    info = PairInfo(
        shapes["source"], tuple(pair.classes), tuple(pair.targets), domains=(*pair.sources, "target")
    )
    info = replace(info, outputs=task.outputs(info))
    _check_labels(pair.source_labels, pair.source.x.shape[0], task, info)
    digest.update(np.ascontiguousarray(pair.source_labels, dtype=_label_type(pair.source_labels)).tobytes())
    _check_sources(pair)
    if pair.source.domain is not None:
        digest.update(np.ascontiguousarray(pair.source.domain, dtype=np.int64).tobytes())
    return InspectedPair(info, digest.hexdigest())


def _check_shape(domain: str, samples: Samples) -> tuple[int, ...]:
    shape = tuple(samples.x.shape)
    if len(shape) not in (2, 4):
        raise DataError(f"{domain}: samples must be [N, C, H, W] or [N, F], not of shape {list(shape)}")
    if 0 in shape:
        raise DataError(f"{domain}: there are no samples, the shape is {list(shape)}")
    for what, array in (("groups", samples.groups), ("test", samples.test)):
        if array is not None and array.shape != (shape[0],):
            raise DataError(f"{domain}: {shape[0]} samples but {what} of shape {list(array.shape)}")
    return shape[1:]


def _check_values(domain: str, x: Array, digest: Any, must_be_finite: bool) -> None:
    bad, first = 0, -1
    for start, chunk in chunks(x):
        digest.update(np.ascontiguousarray(chunk).data)
        with np.errstate(over="ignore"):
            stored = storable(chunk)
        if stored.dtype == np.uint8:
            continue
        finite = np.isfinite(stored)
        if not finite.all():
            rows = np.flatnonzero(~finite.reshape(len(chunk), -1).all(axis=1))
            first = start + int(rows[0]) if first < 0 else first
            bad += int((~finite).sum())
    if bad and must_be_finite:
        raise DataError(
            f"{domain}: {bad} {'value is' if bad == 1 else 'values are'} NaN, infinite or beyond float32, "
            f"the first in row {first}; "
            "remove or repair those rows"
        )


def _difference(source: tuple[int, ...], target: tuple[int, ...]) -> str:
    if len(source) == len(target) == 3 and source[1:] == target[1:]:
        return f"the source has {source[0]} channels, the target {target[0]}; give both the same channels"
    return f"samples differ in shape: source {list(source)}, target {list(target)}; bring both to one shape"


def _check_labels(labels: npt.NDArray[Any], rows: int, task: Task, info: PairInfo) -> None:
    labels = np.asarray(labels)
    if len(labels.shape) not in (1, 2) or labels.shape[0] != rows:
        raise DataError(
            f"source: {rows} samples but labels of shape {list(labels.shape)}; each needs one label"
        )
    try:
        task.check(labels, info)
    except DataError as error:
        raise DataError(f"source: {error}") from None
    if task.predicts_classes and len(present := np.unique(labels)) < 2:
        raise DataError(
            f"source: all labels are '{info.classes[present[0]]}'; a classifier needs two classes at least"
        )


def _label_type(labels: npt.NDArray[Any]) -> type[np.generic]:
    """The type in which labels count for the checksum."""
    return np.float64 if np.asarray(labels).dtype.kind == "f" else np.int64


def _check_sources(pair: DomainPair) -> None:
    """Several sources: every row is of one of them, and each has rows."""
    numbers, names = pair.source.domain, pair.sources
    if pair.target.domain is not None:
        raise DataError("the target is one domain; only the source's rows can be of several")
    if numbers is None:
        if len(names) > 1:
            raise DataError(f"source: {len(names)} sources are named, but no row says which it is from")
        return
    if numbers.shape != (pair.source.x.shape[0],):
        raise DataError(f"source: {pair.source.x.shape[0]} samples but domain of shape {list(numbers.shape)}")
    if numbers.dtype.kind not in "iu" or not np.array_equal(np.unique(numbers), np.arange(len(names))):
        raise DataError(
            f"source: domain must hold each of the whole numbers 0..{len(names) - 1}, those of the "
            f"{len(names)} sources"
        )
