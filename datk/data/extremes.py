"""Values that stand out: markers of missing data, and extremes that leave nothing of all other values."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from datk.base.numbers import number_text
from datk.data.cleaning import Constants

KEPT = 4
"""Different values that are kept of either end of a channel."""

FIRST = 64
"""Rows that are looked at first."""

FAR = 50.0
"""Deviations from the mean beyond which a standardised value is told."""

ISOLATED, LONELY, NAMED = 3.0, 100.0, 0.1
"""Distance from all other values, in units of their range, from which on a value stands alone: one that
several rows have, one that a single row has, and one that is known to stand for missing data."""

_MARKERS = (
    *(99.0, 999.0, 9999.0, 99999.0, 32767.0, 32768.0, 65535.0, 2.0**31 - 1, 2.0**31, 2.0**32 - 1, 2.0**63),
    *(1e20, 1e30, 1e35, 1e36, 1e38, 9.96921e36, 9.969209968386869e36),
)
MARKERS = frozenset(
    rounded * sign for value in _MARKERS for rounded in (value, float(np.float32(value))) for sign in (1, -1)
)
"""Values that files use for missing data."""


class Extremes:
    """The smallest and the largest values of each channel, and how many rows have them."""

    def __init__(self, channels: int, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.rows = 0
        self.low, self.low_rows = _nothing(channels)
        self.high, self.high_rows = _nothing(channels)

    def add(self, lowest: npt.NDArray[Any], highest: npt.NDArray[Any]) -> None:
        """Take in rows by their smallest and largest value in each channel, [n, C]; NaN for none."""
        self.rows += len(lowest)
        _keep(self.low, self.low_rows, lowest, 1)
        _keep(self.high, self.high_rows, highest, -1)

    def look_inside(self, values: npt.NDArray[Any]) -> None:
        """Where all rows have the same smallest or largest value, take the next one from rows [n, C, P]."""
        for end, rows, sign in ((self.low, self.low_rows, 1), (self.high, self.high_rows, -1)):
            alike = np.flatnonzero(np.isfinite(end[0]) & ~np.isfinite(end[1]))
            if len(alike) and values.shape[2] > 1:
                inside = sign * values[:, alike].astype(np.float64)
                inside[~(inside > end[0, alike, None])] = np.inf
                found, count = _nothing(len(alike))
                found[0] = inside.min(axis=(0, 2), initial=np.inf)
                count[0] = (inside == found[0][:, None]).any(axis=2).sum(axis=0)
                end[:, alike], rows[:, alike] = _merged(end[:, alike], rows[:, alike], found, count)

    def ends(self) -> Iterable[tuple[int, Constants, npt.NDArray[np.int64]]]:
        """Sign, different values [KEPT, C] from the outermost inwards, infinite where there are no more, and
        rows with each, of the lower end and of the upper one."""
        yield 1, self.low, self.low_rows
        yield -1, -self.high, self.high_rows


def _nothing(channels: int) -> tuple[Constants, npt.NDArray[np.int64]]:
    return np.full((KEPT, channels), np.inf), np.zeros((KEPT, channels), dtype=np.int64)


def _keep(known: Constants, known_rows: npt.NDArray[np.int64], values: npt.NDArray[Any], sign: int) -> None:
    """Take the smallest of sign * values [n, C] into those that are known, [KEPT, C] in increasing order."""
    if len(values) > FIRST and np.isinf(known[0]).any():
        _keep(known, known_rows, values[:FIRST], sign)  # with something to compare with there is less to sort
        values = values[FIRST:]
    values = values if values.dtype.kind == "f" else values.astype(np.float64)
    values = values if sign > 0 else -values
    ends = known.astype(values.dtype)
    candidate, equal = values <= ends[-1], values == ends[0]  # both false of NaN
    known_rows[0] += np.count_nonzero(equal, axis=0)
    place = np.flatnonzero(candidate & ~equal)  # faster than rows and columns at once
    column = place % len(known[0])
    new = values.reshape(-1)[place]
    for rank in range(1, KEPT):
        known_one = new == ends[rank, column]
        known_rows[rank] += np.bincount(column[known_one], minlength=len(known[0]))
        new, column = new[~known_one], column[~known_one]
    if not len(new):
        return
    new = new.astype(np.float64)
    order = np.lexsort((new, column))
    new, column = new[order], column[order]
    first = np.flatnonzero(np.append(True, (new[1:] != new[:-1]) | (column[1:] != column[:-1])))
    count = np.diff(np.append(first, len(new)))
    new, column = new[first], column[first]
    rank_of = np.arange(len(column)) - np.searchsorted(column, column)
    kept = rank_of < KEPT
    found, rows = _nothing(len(known[0]))
    found[rank_of[kept], column[kept]], rows[rank_of[kept], column[kept]] = new[kept], count[kept]
    known[:], known_rows[:] = _merged(known, known_rows, found, rows)


def _merged(
    values: Constants, rows: npt.NDArray[np.int64], others: Constants, other_rows: npt.NDArray[np.int64]
) -> tuple[Constants, npt.NDArray[np.int64]]:
    """The smallest of two sets of values [KEPT, C], each in increasing order, and the rows with them."""
    both, count = np.concatenate([values, others]), np.concatenate([rows, other_rows])
    order = np.argsort(both, axis=0, kind="stable")
    both, count = np.take_along_axis(both, order, axis=0), np.take_along_axis(count, order, axis=0)
    same = (both[1:] == both[:-1]) & np.isfinite(both[1:])  # each side has a value once
    count[:-1] += np.where(same, count[1:], 0)
    both[1:][same] = np.inf
    order = np.argsort(both, axis=0, kind="stable")[:KEPT]
    both, count = np.take_along_axis(both, order, axis=0), np.take_along_axis(count, order, axis=0)
    return both, np.where(np.isfinite(both), count, 0)


def joined(parts: Sequence[Extremes]) -> Extremes:
    """Those of several arrays of one type together."""
    whole = Extremes(parts[0].low.shape[1], parts[0].dtype)
    for part in parts:
        whole.rows += part.rows
        whole.low, whole.low_rows = _merged(whole.low, whole.low_rows, part.low, part.low_rows)
        whole.high, whole.high_rows = _merged(whole.high, whole.high_rows, part.high, part.high_rows)
    return whole


# --- what is told of them ------------------------------------------------------------------------------


@dataclass(frozen=True)
class OddValue:
    """A value that stands out in some channels of a domain."""

    domain: str
    value: float
    shown: str
    """The value as its type writes it, which `data.missing` reads."""
    channels: tuple[int, ...]
    rows: int
    """Rows with it, in the channel where most have it."""
    total: int
    deviations: float
    """Of the standardised value, largest of the channels."""
    alone: bool
    """Whether it is far from all others, as a marker is; otherwise it is large alone."""

    def message(self) -> str:
        """What is wrong and what to do."""
        where = f"in {channels_text(self.channels)}, {self.rows} of {self.total} rows"
        far = number_text(self.deviations, any_size=True)
        if self.alone:
            known = "looks like a marker of missing data" if self.rows > 1 or self._named else "stands alone"
            return (
                f"{self.domain}: the value {self.shown} {known} ({where}; {far} deviations from the mean); "
                f"if it means no data, --set data.missing={self.shown} fills it by the channel's median"
            )
        return (
            f"{self.domain}: standardised values reach {far} deviations in {channels_text(self.channels)} "
            f"({self.shown} in {self.rows} of {self.total} rows), and all others are small beside them; "
            "--set data.clip=[0.1,99.9] cuts extremes"
        )

    @property
    def _named(self) -> bool:
        return self.value in MARKERS


def channels_text(channels: Sequence[int]) -> str:
    """channel 0; channels 0 and 1; channels 0, 1, 2 and 5 more."""
    first = ", ".join(map(str, channels[:3]))
    if len(channels) == 1:
        return f"channel {first}"
    more = f" and {len(channels) - 3} more" if len(channels) > 3 else ""
    return f"channels {first}{more}"


def odd_values(
    domain: str,
    found: Extremes,
    mean: Constants,
    std: Constants,
    low: Constants,
    high: Constants,
) -> list[OddValue]:
    """What stands out in a domain, the farthest first.

    mean, std: [C] constants of the domain's standardisation.
    low, high: [C] limits that all values are cut to; what they cut does not stand out any more.
    """
    odd: dict[tuple[float, bool], OddValue] = {}
    for channel in range(len(mean)):
        inside = low[channel], high[channel]
        marks = {v: rows for v, rows in _alone(found, channel) if inside[0] <= v <= inside[1]}
        far: list[tuple[float, int]] = []
        for _, values, counts in found.ends():
            outermost = float(values[0, channel])
            rows = 0
            for value, count in zip(values[:, channel], counts[:, channel], strict=True):
                if (
                    np.isfinite(value)
                    and _deviations(np.clip(value, *inside), mean[channel], std[channel]) > FAR
                ):
                    rows += int(count)
            if rows and outermost not in marks:
                far.append((outermost, rows))
        for value, rows, alone in [*((*m, True) for m in marks.items()), *((*f, False) for f in far)]:
            deviations = _deviations(np.clip(value, *inside), mean[channel], std[channel])
            before = odd.get((value, alone))
            odd[value, alone] = OddValue(
                domain,
                value,
                shown(value, found.dtype),
                (*(before.channels if before else ()), channel),
                max(rows, before.rows if before else 0),
                found.rows,
                max(deviations, before.deviations if before else 0.0),
                alone,
            )
    ordered = sorted(odd.values(), key=lambda each: (not each.alone, -each.deviations))
    kept = [each for each in ordered if each.alone]
    large = [each for each in ordered if not each.alone]
    if large:  # the farthest of them tells enough, with the channels in which there are others
        channels = sorted({channel for each in large for channel in each.channels})
        kept.append(replace(large[0], channels=tuple(channels)))
    return kept


def _deviations(value: float, mean: float, std: float) -> float:
    """How many deviations a value is from the mean at least, as both may be rounded."""
    distance = abs(value - mean) - 2 * np.spacing(max(abs(value), abs(mean)))
    return float(max(distance, 0.0) / std)


def _alone(found: Extremes, channel: int) -> Iterable[tuple[float, int]]:
    """Values of a channel that are far from all others, and the rows with each."""
    ends = []
    for _, values, counts in found.ends():
        there = np.isfinite(values[:, channel])
        ends.append((values[there, channel], counts[there, channel]))
    if min(len(values) for values, _ in ends) < 2:
        return
    # The others lie between the widest gaps of the two ends.
    cuts = [int(np.abs(np.diff(values)).argmax()) for values, _ in ends]
    lowest, highest = (values[cut + 1] for (values, _), cut in zip(ends, cuts, strict=True))
    spread = highest - lowest
    if spread <= 0:
        return
    for (values, counts), cut in zip(ends, cuts, strict=True):
        gap = abs(values[cut + 1] - values[cut])
        for value, rows in zip(values[: cut + 1].tolist(), counts[: cut + 1].tolist(), strict=True):
            enough = NAMED if value in MARKERS else ISOLATED
            if gap > (enough if rows > 1 else LONELY) * spread:
                yield value, rows


def shown(value: float, dtype: np.dtype[Any]) -> str:
    """A value as its type writes it: 1e+30 of float32, -32768 of whole numbers."""
    if dtype.kind != "f":
        return str(int(value))
    text = str(dtype.type(value))
    return text.removesuffix(".0") if "e" not in text else text


def coarse_channels(found: Extremes, mean: Constants, std: Constants) -> npt.NDArray[np.bool_]:
    """Where [C] values of a floating-point type differ by a few of its roundings at most."""
    if found.dtype.kind != "f":
        return np.zeros(len(mean), dtype=bool)
    step = np.abs(mean) * float(np.finfo(found.dtype).eps)
    coarse: npt.NDArray[np.bool_] = np.where(_varied(found), std < 8 * step, step > 0.01)
    return coarse & ~tiny_channels(found)


def tiny_channels(found: Extremes) -> npt.NDArray[np.bool_]:
    """Where [C] values are so small that their floating-point type holds few digits of them."""
    if found.dtype.kind != "f":
        return np.zeros(found.low.shape[1], dtype=bool)
    return _varied(found) & (_size(found) < float(np.finfo(found.dtype).smallest_normal))


def _size(found: Extremes) -> Constants:
    size = np.maximum(np.abs(found.low[0]), np.abs(found.high[0]))
    return np.where(np.isfinite(size), size, 0.0)


def _varied(found: Extremes) -> npt.NDArray[np.bool_]:
    varied: npt.NDArray[np.bool_] = (found.low[0] != -found.high[0]) & (_size(found) > 0)
    return varied


def lost_digits(domain: str, found: Extremes, mean: Constants, std: Constants) -> list[str]:
    """What is to be said of channels whose floating-point type holds few digits of them."""
    notes = []
    if (channels := np.flatnonzero(coarse_channels(found, mean, std))).size:
        middle = number_text(float(mean[channels[0]]), any_size=True)
        notes.append(
            f"{domain}: {channels_text(channels.tolist())}: values about {middle} differ by a few roundings "
            f"of {found.dtype} at most, so that most of what they told was lost when they were written; "
            "store float64, or subtract the offset before"
        )
    if (channels := np.flatnonzero(tiny_channels(found))).size:
        notes.append(
            f"{domain}: {channels_text(channels.tolist())}: values are so small that {found.dtype} holds few "
            "of their digits; store them in another unit"
        )
    return notes
