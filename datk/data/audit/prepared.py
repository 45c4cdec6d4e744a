"""The pair as the checks look at it: without markers of missing data, and so that float32 holds its values.

Otherwise one pixel of -32768 in some images would make them duplicates of one another, and so would the
rounding of Julian dates; what is wrong is told by checks of its own, here.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from datk.data.audit.findings import SHOWN, Finding, Severity
from datk.data.cleaning import Cleaning, Constants, is_missing
from datk.data.contract import DOMAINS
from datk.data.extremes import Extremes, OddValue, coarse_channels, joined, lost_digits, odd_values
from datk.data.inspection import LARGEST, InspectedPair
from datk.data.rows import chunks
from datk.data.standardize import Standardize, fits_float32
from datk.interfaces import Array, DomainPair

NOT_FINITE = (np.nan, np.inf, -np.inf)

RUINOUS = 500.0
"""Deviations from the mean from which on a value leaves little of all others."""

ALIKE = 1000.0
"""Ratio of deviations, and distance of means in units of them, up to which two domains share an offset and a
unit: rows that both have are then equal."""


class ReadyRows:
    """Rows of an array as a function makes them while they are read."""

    def __init__(
        self, x: Array, read: Callable[[npt.NDArray[Any]], npt.NDArray[Any]], dtype: Any = np.float32
    ) -> None:
        self.x, self.read = x, read
        self.shape, self.dtype = x.shape, np.dtype(dtype)

    def __getitem__(self, rows: Any) -> npt.NDArray[Any]:
        """Rows of a slice or of an increasing integer array."""
        return self.read(np.asarray(self.x[rows]))


@dataclass(frozen=True)
class Prepared:
    """A pair that is ready to be checked."""

    pair: DomainPair
    """With samples that the checks can compare in float32."""
    spreads: dict[str, tuple[Constants, Constants]]
    """Means and deviations [C] in the samples' own unit, of domains whose samples were given another."""
    findings: list[Finding]
    """Of odd values and lost digits."""
    coarse: frozenset[str]
    """Domains whose values are few roundings of their type in every channel."""


def prepared(pair: DomainPair, inspected: InspectedPair, cleaning: Cleaning) -> Prepared:
    """Find markers and lost digits, and get the rows ready.

    Args:
        inspected: what was found of the values, with `cleaning.missing` and those not finite left out.
        cleaning: what a run would do to values.
    """
    findings: list[Finding] = []
    coarse: set[str] = set()
    arrays: dict[str, Array] = {}
    constants: dict[str, Standardize] = {}
    for domain in DOMAINS:
        x, found = _bounded(getattr(pair, domain).x), joined(inspected.extremes[domain])
        own = _fitted(x, cleaning)
        odd = odd_values(domain, found, *own.constants())
        findings.append(_odd_finding(domain, x, odd))
        if marks := tuple(each.value for each in odd if each.alone):
            own = _fitted(x, replace(cleaning, missing=(*cleaning.missing, *marks)))
        mean, std, _, _ = own.constants()
        findings.append(_precision_finding(domain, found, mean, std))
        if coarse_channels(found, mean, std).all():
            coarse.add(domain)
        arrays[domain], constants[domain] = x, own
    ready = copy.copy(pair)
    ready.source_labels = inspected.labels
    narrow = all(_fits(constants[domain], arrays[domain]) for domain in DOMAINS)
    common = _alike(constants["source"], constants["target"])
    for domain, own in constants.items():
        unit = None if narrow else constants["source"] if common else own
        x = _rows(arrays[domain], own, unit)
        setattr(ready, domain, replace(getattr(pair, domain), x=x))
    spreads = {} if narrow else {domain: own.constants()[:2] for domain, own in constants.items()}
    return Prepared(ready, spreads, findings, frozenset(coarse))


def _bounded(x: Array) -> Array:
    """NaN for values that no run takes."""
    if x.dtype.kind != "f" or x.dtype.itemsize < 8:
        return x
    return ReadyRows(x, lambda values: np.where(np.abs(values) <= LARGEST, values, np.nan), x.dtype)


def _fitted(x: Array, cleaning: Cleaning) -> Standardize:
    """Constants of all rows, from values that are finite; which are not is told, not filled."""
    fitted = Standardize(
        tuple(x.shape[1:]), cleaning=replace(cleaning, missing=(*cleaning.missing, *NOT_FINITE))
    )
    fitted.fit(x, np.arange(x.shape[0]))
    fitted.missing = torch.tensor(cleaning.missing, dtype=torch.float64)
    return fitted


def _fits(standardize: Standardize, x: Array) -> bool:
    mean, std, _, _ = standardize.constants()
    return x.dtype.itemsize <= 2 or fits_float32(mean, std)


def _alike(source: Standardize, target: Standardize) -> bool:
    (a, a_std, _, _), (b, b_std, _, _) = source.constants(), target.constants()
    smaller, larger = np.minimum(a_std, b_std), np.maximum(a_std, b_std)
    with np.errstate(over="ignore"):
        return bool(((larger / smaller <= ALIKE) & (np.abs(a - b) / smaller <= ALIKE)).all())


def _rows(x: Array, own: Standardize, unit: Standardize | None) -> Array:
    """Rows with fills in place of markers, within the limits of all values, and in another unit if given."""
    assert own.fill is not None
    assert own.missing is not None
    if unit is not None:
        made = copy.deepcopy(unit)
        made.missing, made.fill, made.low, made.high = own.missing, own.fill, own.low, own.high
        no_rows = np.zeros(0, dtype=np.int64)
        standardized = made.reader(no_rows)
        return ReadyRows(x, lambda values: standardized(values, no_rows))
    if not own.missing.numel() and own.low is None:
        return x
    missing, fill = own.missing.numpy(), own.fill.float().numpy()
    low, high = (each.reshape(fill.shape).astype(np.float32) for each in own.constants()[2:])

    def read(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        with np.errstate(over="ignore"):
            filled = np.clip(values.astype(np.float32), low, high)
        np.copyto(filled, fill, where=is_missing(values, missing))
        return filled

    return ReadyRows(x, read)


def _precision_finding(domain: str, found: Extremes, mean: Constants, std: Constants) -> Finding:
    """Whether the type of the values holds what they tell."""
    if lost := lost_digits(domain, found, mean, std):
        text = "; ".join(note.removeprefix(f"{domain}: ") for note in lost)
        return Finding("precision", domain, "medium", text)
    return Finding("precision", domain, "ok", f"{found.dtype} holds the values")


def _odd_finding(domain: str, x: Array, odd: Sequence[OddValue]) -> Finding:
    """Markers of missing data and extremes, and the rows with the markers."""
    if not odd:
        return Finding("odd values", domain, "ok", "none stands out")
    markers = [each.value for each in odd if each.alone]
    rows: list[int] = []
    for start, chunk in chunks(x) if markers else ():
        found = is_missing(chunk, markers).reshape(len(chunk), -1).any(axis=1)
        rows += (start + np.flatnonzero(found)).tolist()
    severity: Severity = "low"  # the bright core of a galaxy is far from the mean, too
    if any(each.alone or each.deviations > RUINOUS for each in odd):
        severity = "high" if any(each.alone and each.rows > 1 for each in odd) else "medium"
    told = "; ".join(each.message().removeprefix(f"{domain}: ") for each in odd[:SHOWN])
    more = f"; and {len(odd) - SHOWN} more values" if len(odd) > SHOWN else ""
    left_out = "; the other checks fill it" if markers else ""
    return Finding("odd values", domain, severity, f"{told}{more}{left_out}", tuple(rows))
