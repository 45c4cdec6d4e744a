"""Values that mean "no data" and extremes: where they are, and what stands in for them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from datk.config.models import DataConfig
from datk.data.rows import chunks
from datk.interfaces import Array

SAMPLE_VALUES = 2**23
"""Values that medians and percentiles are taken of: all, or those of so many rows drawn at random."""

Constants = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cleaning:
    """What is to be done to values before they are standardised; nothing by default."""

    missing: tuple[float, ...] = ()
    """Values that mean "no data"; NaN and infinities may be among them."""
    fill: float | None = None
    """What stands in for them; the median of the channel's other values if None."""
    clip: tuple[float, float] | None = None
    """Percentiles of a channel's values beyond which nothing is left."""

    @classmethod
    def of(cls, config: DataConfig) -> "Cleaning":
        """What a configuration asks for."""
        fill = None if config.missing_fill == "median" else config.missing_fill
        return cls(tuple(map(float, config.missing)), fill, config.clip)

    def __bool__(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.missing) or self.clip is not None


def is_missing(x: npt.NDArray[Any], values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Where x has one of the values, each rounded as the type of x, or float32 before it, would have done."""
    found = np.zeros(x.shape, dtype=bool)
    for value in np.asarray(values, dtype=np.float64):
        if x.dtype.kind != "f":
            found |= x == value if x.dtype.itemsize < 8 else x.astype(np.float64) == value
        elif np.isnan(value):
            found |= np.isnan(x)
        else:
            with np.errstate(over="ignore"):
                rounded = {x.dtype.type(value), x.dtype.type(np.float32(value))}
            for candidate in rounded:
                if np.isfinite(candidate) or np.isinf(value):
                    found |= x == candidate
    return found


def sampled_values(x: Array, rows: npt.NDArray[np.int64], generator: np.random.Generator) -> npt.NDArray[Any]:
    """Values [n, C, P] of the given rows, or of as many of them as are `SAMPLE_VALUES` values."""
    shape = (x.shape[1], int(np.prod(x.shape[2:], dtype=np.int64)))
    enough = max(1, SAMPLE_VALUES // max(1, shape[0] * shape[1]))
    if len(rows) > enough:
        rows = np.sort(generator.choice(rows, enough, replace=False))
    values = np.empty((len(rows), *shape), dtype=x.dtype)
    for start, chunk in chunks(x, rows):
        values[start : start + len(chunk)] = chunk.reshape(len(chunk), *shape)
    return values


def limits(values: npt.NDArray[Any], cleaning: Cleaning) -> tuple[Constants, Constants, Constants]:
    """Of values [n, C, P] what stands in for missing ones, and the least and largest that is left: [C] each.

    A channel that has no other than missing values gets 0, and no limits.
    """
    channels = values.shape[1]
    fill = np.full(channels, cleaning.fill or 0.0)
    low, high = np.full(channels, -np.inf), np.full(channels, np.inf)
    for channel in range(channels):
        given = values[:, channel].reshape(-1)
        given = given[~is_missing(given, cleaning.missing)].astype(np.float64)
        if not len(given):
            continue
        if cleaning.missing and cleaning.fill is None:
            fill[channel] = np.median(given)
        if cleaning.clip is not None:
            low[channel], high[channel] = np.percentile(given, cleaning.clip)
    return fill, low, high
