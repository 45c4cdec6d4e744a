"""Values: not finite, constant, saturated; units; how many rows each class has."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datk.data.audit.findings import Finding, Severity, counted, some
from datk.data.rows import chunks
from datk.interfaces import Array, DomainPair

SATURATED = 0.01
"""Share of an image's pixels at its largest value, from which on it counts as saturated."""

PIXELS = 1024
"""Pixels of a channel from which the quantiles are taken, evenly spread."""

UNITS = 10.0
"""Ratio of spreads from which on two domains are said to be in different units."""


@dataclass(frozen=True)
class Survey:
    """What one reading of all rows of a domain tells."""

    x: Array
    finite: npt.NDArray[np.bool_]
    constant: npt.NDArray[np.bool_]
    empty: npt.NDArray[np.bool_]
    """All values are zero."""
    saturated: npt.NDArray[np.bool_]
    statistics: npt.NDArray[np.float32]
    """[N, S] per channel: mean, std, minimum, maximum, five quantiles, share of zeros; of vectors, of all
    features together."""
    mean: npt.NDArray[np.float64]
    """[C] over the finite rows."""
    std: npt.NDArray[np.float64]


def survey(x: Array) -> Survey:
    """Read all rows once."""
    rows, channels = x.shape[0], x.shape[1] if len(x.shape) == 4 else 1
    finite, constant = np.zeros(rows, dtype=bool), np.zeros(rows, dtype=bool)
    empty, saturated = np.zeros(rows, dtype=bool), np.zeros(rows, dtype=bool)
    statistics = np.zeros((rows, 10 * channels), dtype=np.float32)
    total, squares, count = np.zeros(channels), np.zeros(channels), 0
    several = math.prod(x.shape[1:]) > 1  # a single value is no constant row
    for start, chunk in chunks(x):
        part = slice(start, start + len(chunk))
        with np.errstate(over="ignore"):
            values = chunk.reshape(len(chunk), channels, -1).astype(np.float32)
        good: npt.NDArray[np.bool_] = np.asarray(np.isfinite(values).all(axis=(1, 2)))
        values = np.where(good[:, None, None], values, 0)
        low, high = values.min(axis=2), values.max(axis=2)
        zeros = (values == 0).mean(axis=2)
        finite[part] = good
        constant[part] = good & several & (low.min(axis=1) == high.max(axis=1))
        empty[part] = good & (zeros.min(axis=1) == 1)
        if len(x.shape) == 4:
            at_top = (values == high[..., None]).sum(axis=2)
            plateau = (at_top > max(3, SATURATED * values.shape[2])) & (high > low)
            saturated[part] = plateau.any(axis=1) & good
        sparse = values[..., :: math.ceil(values.shape[2] / PIXELS)]
        quantiles = np.quantile(sparse, [0.05, 0.25, 0.5, 0.75, 0.95], axis=2)
        mean, std = values.mean(axis=2, dtype=np.float64), values.std(axis=2, dtype=np.float64)
        statistics[part] = (
            np.concatenate([[mean, std, low, high, zeros], quantiles])
            .transpose(1, 0, 2)
            .reshape(len(chunk), -1)
        )
        total += mean[good].sum(axis=0)
        squares += (std[good] ** 2 + mean[good] ** 2).sum(axis=0)
        count += int(good.sum())
    mean = total / max(count, 1)
    spread = np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 0))
    return Survey(x, finite, constant, empty, saturated, statistics, mean, spread)


def check_rows(surveys: Mapping[str, Survey]) -> list[Finding]:
    """Rows that are not finite, constant or saturated."""
    findings = []
    for domain, found in surveys.items():
        empty = "empty images" if len(found.x.shape) == 4 else "empty rows"
        rows = len(found.finite)
        bad, flat, full = (np.flatnonzero(mask) for mask in (~found.finite, found.constant, found.saturated))
        if len(bad):
            findings.append(
                Finding(
                    "finite values",
                    domain,
                    "high",
                    f"{counted(len(bad), 'row')} with NaN, infinite or too large values: {some(bad)}; "
                    "drop or repair them, or fill them by the channel's median: --set "
                    "data.missing=nan,inf,-inf (the other checks leave them out)",
                    tuple(bad.tolist()),
                )
            )
        else:
            findings.append(Finding("finite values", domain, "ok", f"all {rows} rows are finite"))
        if len(flat):
            zero = int(found.empty.sum())
            findings.append(
                Finding(
                    empty,
                    domain,
                    "high" if len(flat) > 0.01 * rows and len(flat) > 1 else "medium",
                    f"{counted(len(flat), 'row')} with a single value ({zero} all zero): {some(flat)}; "
                    "drop them",
                    tuple(flat.tolist()),
                )
            )
        else:
            findings.append(Finding(empty, domain, "ok", "none"))
        if len(full):
            severity: Severity = "medium" if len(full) > 0.05 * rows else "low"
            findings.append(
                Finding(
                    "saturation",
                    domain,
                    severity,
                    f"{counted(len(full), 'image')} with more than {SATURATED:.0%} of the pixels at their "
                    f"largest value: {some(full)}; see whether they were clipped",
                    tuple(full.tolist()),
                )
            )
        else:
            findings.append(Finding("saturation", domain, "ok", "none"))
    return findings


def check_units(
    types: tuple[str, str],
    spreads: Mapping[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]],
) -> list[Finding]:
    """Whether the domains are of one type and one scale.

    Args:
        types: of the values of source and target.
        spreads: means and deviations [C] of each domain.
    """
    (mean, std), (target_mean, target_std) = spreads["source"], spreads["target"]
    if not (std.any() and target_std.any()):
        return [Finding("units", "both", "ok", "too few rows to tell")]
    tiny = np.finfo(np.float64).tiny
    with np.errstate(over="ignore"):
        ratio = np.maximum(target_std, tiny) / np.maximum(std, tiny)
    if ratio.max() > UNITS or ratio.min() < 1 / UNITS:
        worst = int(np.abs(np.log(ratio)).argmax())
        return [
            Finding(
                "units",
                "both",
                "medium",
                f"channel {worst} has mean {mean[worst]:.3g} and std {std[worst]:.3g} in the source, "
                f"{target_mean[worst]:.3g} and {target_std[worst]:.3g} in the target: different units? Each "
                "domain is standardised by itself, but see that both are as meant",
            )
        ]
    if types[0] != types[1]:
        return [
            Finding(
                "units",
                "both",
                "low",
                f"source is {types[0]}, target {types[1]}: see that both are scaled alike",
            )
        ]
    return [
        Finding("units", "both", "ok", f"spreads differ by at most {max(ratio.max(), 1 / ratio.min()):.1f}")
    ]


def check_balance(pair: DomainPair) -> list[Finding]:
    """How many source rows each class has."""
    counts = np.bincount(pair.source_labels, minlength=len(pair.classes))
    shares = counts / counts.sum()
    rarest = int(counts.argmin())
    text = ", ".join(f"{name} {count}" for name, count in zip(pair.classes[:8], counts, strict=False))
    relative = shares[rarest] * len(counts)
    severity: Severity = "ok"
    if shares[rarest] < 0.01:
        severity = "high"
    elif relative < 0.2:
        severity = "medium"
    elif relative < 0.5:
        severity = "low"
    advice = "" if severity == "ok" else f"; {pair.classes[rarest]} is rare: give more, or set train.balance"
    return [Finding("class balance", "source", severity, text + advice)]
