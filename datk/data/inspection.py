"""What must hold of any pair before a run starts, and the checksum of its data."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from datk.base.errors import ConfigError, DataError
from datk.data.cleaning import is_missing
from datk.data.contract import DOMAINS, check_pair, checked_labels
from datk.data.extremes import Extremes
from datk.data.rows import chunks
from datk.interfaces import Array, DomainPair, PairInfo, Task

LARGEST = 1e307
"""Size of values that can be told apart in float64 whatever is subtracted from them."""

INSIDE = 8
"""Rows that are looked into where all have one and the same extreme."""


@dataclass(frozen=True)
class InspectedPair:
    """A pair that may be trained on."""

    info: PairInfo
    checksum: str
    """sha256 over all that training may use: samples, groups and test rows of both, labels of the source."""
    labels: npt.NDArray[Any]
    """Of the source, [N] or [N, T], as `checked_labels` gives them."""
    extremes: dict[str, list[Extremes]]
    """Of the values of each domain by its name, without missing ones; of several sources those of each."""


def inspect_pair(
    pair: DomainPair,
    task: Task,
    *,
    finite: bool = True,
    missing: Sequence[float] = (),
    positive: str | None = None,
) -> InspectedPair:
    """Check shapes, lengths, labels and values; read every row once.

    Args:
        task: says what labels must be.
        finite: whether all values have to be.
        missing: values that mean "no data", which need not be finite.
        positive: name of the positive class, of two; the second if not given.

    Raises:
        DataError: naming the domain, what is wrong, how often and where first.
        ConfigError: a positive class that there is not, or where there are not two classes.
    """
    check_pair(pair)
    info = PairInfo(
        tuple(pair.source.x.shape[1:]),
        tuple(pair.classes),
        tuple(pair.targets),
        domains=(*pair.sources, "target"),
        positive=_positive_class(pair.classes, positive),
    )
    info = replace(info, outputs=task.outputs(info))
    labels = checked_labels(pair.source_labels, pair.source.x.shape[0], task, info, pair)
    if task.predicts_classes and len(present := np.unique(labels)) < 2:
        raise DataError(
            f"source: all labels are '{info.classes[present[0]]}'; a classifier needs two classes at least"
        )
    digest = hashlib.sha256()
    extremes: dict[str, list[Extremes]] = {}
    for domain in DOMAINS:
        samples = getattr(pair, domain)
        numbers = samples.domain if domain == "source" and len(pair.sources) > 1 else None
        sources = 1 if numbers is None else len(pair.sources)
        extremes[domain] = _check_values(domain, samples.x, digest, finite, missing, numbers, sources)
        for array in (samples.groups, samples.test):
            digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    digest.update(np.ascontiguousarray(labels, dtype=_label_type(labels)).tobytes())
    if pair.source.domain is not None:
        digest.update(np.ascontiguousarray(pair.source.domain, dtype=np.int64).tobytes())
    return InspectedPair(info, digest.hexdigest(), labels, extremes)


def _positive_class(classes: Sequence[str], name: str | None) -> int | None:
    """Number of the positive class, None if none is named."""
    if name is None:
        return None
    listed = ", ".join(repr(known) for known in classes[:10]) + (", ..." if len(classes) > 10 else "")
    if not classes:
        raise ConfigError(f"pair.positive={name} names a class, and the labels are numbers; leave it out")
    if len(classes) != 2:
        raise ConfigError(
            f"pair.positive={name}: one of two classes can be the positive one, and there are {len(classes)} "
            f"({listed}), over which metrics are means; leave it out"
        )
    if name not in classes:
        raise ConfigError(f"pair.positive={name}: there is no such class; choose one of {listed}")
    return list(classes).index(name)


def _check_values(
    domain: str,
    x: Array,
    digest: Any,
    must_be_finite: bool,
    missing: Sequence[float],
    numbers: npt.NDArray[np.integer] | None,
    sources: int,
) -> list[Extremes]:
    """Read all values; tell the extremes of each of several sources, whose numbers [N] are given."""
    bad, first = 0, -1
    extremes = [Extremes(x.shape[1], x.dtype) for _ in range(sources)]
    insides: list[npt.NDArray[Any]] = []
    for start, chunk in chunks(x):
        chunk = np.ascontiguousarray(chunk)
        digest.update(chunk.data)
        values, unusable = _usable(chunk.reshape(*chunk.shape[:2], -1), missing)
        if unusable is not None and unusable.any():
            first = start + int(np.flatnonzero(unusable.any(axis=(1, 2)))[0]) if first < 0 else first
            bad += int(unusable.sum())
        lowest = highest = values[..., 0]
        if values.shape[2] > 1:
            lowest, highest = np.fmin.reduce(values, axis=2), np.fmax.reduce(values, axis=2)
        for number, found in enumerate(extremes):
            own = slice(None) if numbers is None else numbers[start : start + len(chunk)] == number
            found.add(lowest[own], highest[own])
            if start == 0:
                insides.append(values[own][:INSIDE])
    if bad and must_be_finite:
        raise DataError(
            f"{domain}: {bad} {'value is' if bad == 1 else 'values are'} NaN, infinite or beyond "
            f"{LARGEST:g}, the first in row {first}; remove or repair those rows, or say what means no data, "
            "for instance --set data.missing=nan"
        )
    for found, inside in zip(extremes, insides, strict=True):
        found.look_inside(inside)
    return extremes


def _usable(
    values: npt.NDArray[Any], missing: Sequence[float]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
    """Values with NaN in place of missing and of unusable ones; and where those are, None for nowhere."""
    lacking = is_missing(values, missing) if missing else None
    if lacking is not None and not lacking.any():
        lacking = None
    unusable = None
    if values.dtype.kind == "f":
        usable = np.isfinite(values)
        if values.dtype.itemsize >= 8:
            usable &= np.abs(values) <= LARGEST
        if not usable.all():
            unusable = ~usable if lacking is None else ~usable & ~lacking
            values = np.where(usable, values, np.nan)
    if lacking is not None:
        values = np.where(lacking, np.nan, values.astype(np.float64))
    return values, unusable


def _label_type(labels: npt.NDArray[Any]) -> type[np.generic]:
    """The type in which labels count for the checksum."""
    return np.float64 if np.asarray(labels).dtype.kind == "f" else np.int64
