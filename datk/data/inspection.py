"""What must hold of any pair before a run starts, and the checksum of its data."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from datk.base.errors import DataError
from datk.data.contract import DOMAINS, check_pair, checked_labels
from datk.data.rows import chunks, storable
from datk.interfaces import Array, DomainPair, PairInfo, Task


@dataclass(frozen=True)
class InspectedPair:
    """A pair that may be trained on."""

    info: PairInfo
    checksum: str
    """sha256 over all that training may use: samples, groups and test rows of both, labels of the source."""
    labels: npt.NDArray[Any]
    """Of the source, [N] or [N, T], as `checked_labels` gives them."""


def inspect_pair(pair: DomainPair, task: Task, *, finite: bool = True) -> InspectedPair:
    """Check shapes, lengths, labels and values; read every row once.

    Args:
        task: says what labels must be.
        finite: whether all values have to be.

    Raises:
        DataError: naming the domain, what is wrong, how often and where first.
    """
    check_pair(pair)
    info = PairInfo(
        tuple(pair.source.x.shape[1:]),
        tuple(pair.classes),
        tuple(pair.targets),
        domains=(*pair.sources, "target"),
    )
    info = replace(info, outputs=task.outputs(info))
    labels = checked_labels(pair.source_labels, pair.source.x.shape[0], task, info, pair)
    if task.predicts_classes and len(present := np.unique(labels)) < 2:
        raise DataError(
            f"source: all labels are '{info.classes[present[0]]}'; a classifier needs two classes at least"
        )
    digest = hashlib.sha256()
    for domain in DOMAINS:
        samples = getattr(pair, domain)
        _check_values(domain, samples.x, digest, finite)
        for array in (samples.groups, samples.test):
            digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    digest.update(np.ascontiguousarray(labels, dtype=_label_type(labels)).tobytes())
    if pair.source.domain is not None:
        digest.update(np.ascontiguousarray(pair.source.domain, dtype=np.int64).tobytes())
    return InspectedPair(info, digest.hexdigest(), labels)


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


def _label_type(labels: npt.NDArray[Any]) -> type[np.generic]:
    """The type in which labels count for the checksum."""
    return np.float64 if np.asarray(labels).dtype.kind == "f" else np.int64
