"""Standardisation by channel, fitted on training rows only, and what is cleaned before it."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from datk.base.rng import numpy_generator
from datk.data.cleaning import Cleaning, Constants, is_missing, limits, sampled_values
from datk.data.rows import Reader, chunks
from datk.interfaces import Array

OFFSET = 1000.0
"""Deviations that a channel's mean may be away from 0 for float32 to be standardised in float32: beyond it
interpolation and the mean's own rounding would cost digits that the values have."""

ORDINARY = 2.0**100
"""Size of float32 values, and one over it of their deviations, up to which float32 arithmetic is safe."""

CONSTANTS = ("mean", "std", "rest", "missing", "fill", "low", "high")


class Standardize(nn.Module):
    """(x - mean) / std per channel of images [B, C, H, W], per feature of vectors [B, F]; gives float32.

    The constants are buffers and saved with the model. A channel without spread is centred only. Each of
    several sources has constants of its own, which rows get by the number of their domain.

    Where rows come as uint8, float16 or ordinary float32, `forward` does it on the device, with constants in
    float32. Everything else would lose digits on the way there: whole numbers about 2e9, Julian dates in
    float64, values that float32 does not reach, and whatever is cleaned. `reader` does that on the host in
    float64 while rows are read, with constants in float64. `on_device` says which of the two is right.

    Args:
        shape: of a row.
        sources: how many domains have constants of their own.
        cleaning: what is replaced first: missing values, and what lies beyond percentiles.
    """

    mean: Tensor
    std: Tensor
    rest: Tensor | None
    """What is left of the mean where float64 does not hold it, as of times in nanoseconds."""
    missing: Tensor | None
    fill: Tensor | None
    low: Tensor | None
    high: Tensor | None

    def __init__(self, shape: tuple[int, ...], sources: int = 1, cleaning: Cleaning | None = None) -> None:
        super().__init__()
        constants: tuple[int, ...] = (shape[0], *(1,) * (len(shape) - 1))
        self.by_domain = sources > 1
        if self.by_domain:
            constants = (sources, *constants)
        self.cleaning = cleaning or Cleaning()
        self.device = torch.device("cpu")
        """Of what `forward` gets and gives."""
        self.varies = torch.ones(constants, dtype=torch.bool)
        """Channels with a spread in the rows that the constants were fitted to."""
        self.register_buffer("mean", torch.zeros(constants))
        self.register_buffer("std", torch.ones(constants))
        for name in CONSTANTS[2:]:
            self.register_buffer(name, None)

    def forward(self, x: Tensor, domain: Tensor | None = None) -> Tensor:
        """Standardise a batch as it is stored, without cleaning; domain [B] if there are several sources."""
        mean, std = (self.mean[domain], self.std[domain]) if self.by_domain else (self.mean, self.std)
        return (x.to(mean.dtype) - mean).div_(std).float()

    def reader(self, numbers: npt.NDArray[np.int64]) -> Reader:
        """What cleans and standardises rows [B, *shape] in float64, given their row numbers [B], with the
        constants as they are now.

        What is beyond float32 after that becomes infinite.

        Args:
            numbers: the domains [N] of all rows, which count if there are several sources.
        """

        def own(name: str) -> Constants | None:
            buffer = self._buffers[name]
            return None if buffer is None else buffer.cpu().numpy().astype(np.float64)

        mean, std, rest, missing, fill, low, high = map(own, CONSTANTS)
        assert mean is not None
        assert std is not None
        fill, low, high = (None if each is None else each - mean for each in (fill, low, high))

        def read(x: npt.NDArray[Any], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
            def of_rows(constant: Constants) -> Constants:
                return constant[numbers[rows]] if self.by_domain else constant

            values = difference(x, of_rows(mean))
            if low is not None and high is not None:
                np.clip(values, of_rows(low), of_rows(high), out=values)
            if missing is not None and fill is not None and len(missing):
                np.copyto(values, of_rows(fill), where=is_missing(x, missing))
            if rest is not None:
                values -= of_rows(rest)
            with np.errstate(over="ignore"):
                values /= of_rows(std)
                return np.require(values, dtype=np.float32, requirements=("C", "W"))

        return read

    def on_device(self, dtype: np.dtype[Any]) -> bool:
        """Whether rows of that type keep all their digits on the way to `forward`."""
        plain = dtype in (np.bool_, np.uint8, np.float16, np.float32)
        return plain and self.missing is None and self.low is None and self.mean.dtype == torch.float32

    def place(self, device: torch.device) -> "Standardize":
        """Bring to the device what `forward` needs there; float64, which not all devices have, stays."""
        self.device = device
        if self.mean.dtype == torch.float32:
            self.mean, self.std = self.mean.to(device), self.std.to(device)
        return self

    def constants(self, number: int = 0) -> tuple[Constants, Constants, Constants, Constants]:
        """Mean, deviation, and the limits that values are cut to, infinite if there are none: [C] each,
        of one of several sources by its number."""

        def own(constant: Tensor) -> Constants:
            found: Constants = (constant[number] if self.by_domain else constant).cpu().double().numpy()
            return found.reshape(-1)

        mean, std = own(self.mean), own(self.std)
        low = np.full_like(mean, -np.inf) if self.low is None else own(self.low)
        high = np.full_like(mean, np.inf) if self.high is None else own(self.high)
        return mean, std, low, high

    # --- fitting

    def fit(
        self, x: Array, rows: npt.NDArray[np.int64], numbers: npt.NDArray[np.int64] | None = None
    ) -> None:
        """Set the constants from the given rows, in increasing order, piece by piece.

        Missing values count in none of them. Medians and percentiles are exact up to `SAMPLE_VALUES` values,
        and beyond that those of rows that are drawn at random.

        Args:
            x: all rows of the domain.
            rows: numbers of those to fit to.
            numbers: the domains [N] of all rows of the array, if there are several sources; each of them has
                some of the rows.
        """
        self.fit_cleaning(x, rows, numbers)
        parts = self._parts(rows, numbers)
        fitted = [self._moments(x, part, number) for number, part in enumerate(parts)]
        mean, std, rest = (np.stack(each).reshape(self.mean.shape) for each in zip(*fitted, strict=True))
        safe = x.dtype in (np.bool_, np.uint8, np.float16)
        safe = safe or (x.dtype == np.float32 and fits_float32(mean, std))
        self.varies = torch.from_numpy(std > 0)
        std = np.where(std > 0, std, 1.0)
        kind = torch.float32 if safe and not self.cleaning else torch.float64
        self.mean, self.std = torch.from_numpy(mean).to(kind), torch.from_numpy(std).to(kind)
        self.rest = torch.from_numpy(rest) if (np.abs(rest) > 1e-6 * std).any() else None

    def follow(self, other: "Standardize") -> None:
        """Take over mean and deviation of another domain, not how values are cleaned.

        What does not vary there says nothing here: the network has no weights for it that are trained. Such a
        channel becomes constant in this domain, too.
        """
        kind = torch.float64 if self.cleaning else other.mean.dtype
        self.mean = other.mean.to(kind, copy=True)
        self.std = torch.where(other.varies, other.std, torch.inf).to(kind)
        self.rest = None if other.rest is None else other.rest.clone()

    def fit_cleaning(
        self, x: Array, rows: npt.NDArray[np.int64], numbers: npt.NDArray[np.int64] | None = None
    ) -> None:
        """Set what stands in for missing values and the limits of all others, as `fit` does first."""
        if not self.cleaning:
            return
        parts = self._parts(rows, numbers)
        # One draw for all seeds: they are to differ in training, not in what is trained on.
        found = [
            limits(sampled_values(x, part, numpy_generator(0, "percentiles", number)), self.cleaning)
            for number, part in enumerate(parts)
        ]
        fill, low, high = (
            torch.from_numpy(np.stack(each).reshape(self.mean.shape)) for each in zip(*found, strict=True)
        )
        self.missing, self.fill = torch.tensor(self.cleaning.missing, dtype=torch.float64), fill
        if self.cleaning.clip is not None:
            self.low, self.high = low, high

    def _parts(
        self, rows: npt.NDArray[np.int64], numbers: npt.NDArray[np.int64] | None
    ) -> list[npt.NDArray[np.int64]]:
        """The rows of each of several sources."""
        if numbers is None:
            return [rows]
        return [rows[numbers[rows] == number] for number in range(len(self.mean))]

    def _moments(
        self, x: Array, rows: npt.NDArray[np.int64], number: int
    ) -> tuple[Constants, Constants, Constants]:
        """Mean, deviation and rest of the mean [C] over rows of a domain, piece by piece, in float64 (merging
        as Chan et al. 1979).

        Differences from a value among them are what is summed, so that an offset costs no digits, in units of
        a power of 2 where their squares would be beyond float64.
        """
        channels = x.shape[1]
        shape = (channels, *(1,) * (len(x.shape) - 2))
        axes = (0, *range(2, len(x.shape)))
        here = slice(None) if not self.by_domain else number
        limit = [None if each is None else each[here].numpy() for each in (self.low, self.high)]
        count, mean, spread = np.zeros(channels), np.zeros(channels), np.zeros(channels)
        extreme = x.dtype.kind == "f" and x.dtype.itemsize >= 8
        power = np.full(channels, -1100 if extreme else 0)
        middle: Constants | None = None
        for _, chunk in chunks(x, rows):
            lacking = is_missing(chunk, self.cleaning.missing) if self.cleaning.missing else None
            if middle is None:
                middle = _some_value(chunk, lacking).reshape(shape)
                if limit[0] is not None and limit[1] is not None:
                    middle = np.clip(middle, limit[0], limit[1])
            values = difference(chunk, middle)
            if limit[0] is not None and limit[1] is not None:
                np.clip(values, limit[0] - middle, limit[1] - middle, out=values)
            n = np.full(channels, float(values.size // channels))
            if lacking is not None:
                np.copyto(values, 0.0, where=lacking)
                n -= lacking.sum(axis=axes)
            if extreme:
                largest = np.maximum(values.max(axis=axes), -values.min(axis=axes))
                before, power = power, np.maximum(power, _power(largest))
                if (power > before).any():
                    mean, spread = np.ldexp(mean, before - power), np.ldexp(spread, 2 * (before - power))
                if (power[largest > 0] != 0).any():
                    values = np.ldexp(values, -power.reshape(shape))
            some = np.maximum(n, 1)
            chunk_mean = values.sum(axis=axes) / some
            values -= chunk_mean.reshape(shape)
            if lacking is not None:
                np.copyto(values, 0.0, where=lacking)
            flat = values.reshape(len(values), channels, -1)
            squares = np.einsum("ncp,ncp->c", flat, flat)
            gap, total = chunk_mean - mean, np.maximum(count + n, 1)
            spread += squares + gap**2 * (count * n / total)
            mean += gap * (n / total)
            count += n
        assert middle is not None, "there is a row at least"
        middle = middle.reshape(-1)
        std = np.ldexp(np.sqrt(spread / np.maximum(count, 1)), power)
        mean = np.ldexp(mean, power)
        whole = middle + mean
        if self.fill is not None:  # of a channel of missing values alone that is all there is
            whole = np.where(count > 0, whole, self.fill[here].numpy().reshape(-1))
        return whole, std, np.where(count > 0, (middle - whole) + mean, 0.0)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take over the constants of a state in its types: earlier versions had float32 alone, and nothing to
        clean by, which stays as it is here."""
        given = {name: state_dict.get(prefix + name) for name in CONSTANTS}
        for name, value in given.items():
            mine = self._buffers[name]
            if value is None and name in CONSTANTS[3:] and mine is not None:
                state_dict[prefix + name] = mine
            elif value is None and name == "rest":
                self.rest = None
            elif value is not None and (mine is None or mine.dtype != value.dtype or name == "missing"):
                shape = value.shape if name == "missing" else self.mean.shape
                self._buffers[name] = torch.empty(shape, dtype=value.dtype)
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self.place(self.device)


def fits_float32(mean: Constants, std: Constants) -> bool:
    """Whether float32 arithmetic keeps what float32 holds of values with these means and deviations, 0 of
    channels without spread."""
    ordinary = (np.abs(mean) / OFFSET <= std) & (std >= 1 / ORDINARY) & (std <= ORDINARY)
    return bool(np.where(std > 0, ordinary, np.abs(mean) <= ORDINARY).all())


def difference(x: npt.NDArray[Any], mean: Constants) -> Constants:
    """x - mean in float64; of whole numbers of 64 bits and of long floats without rounding x first."""
    if x.dtype.kind not in "iu" or x.dtype.itemsize < 8 or np.abs(mean).max() < 2**52:
        return np.asarray(x - mean, dtype=np.float64)
    rounded = x.astype(np.float64) - mean
    with np.errstate(invalid="ignore"):
        exact = (x - mean.astype(x.dtype)).view(np.int64)  # such a mean is a whole number; overflow wraps
    return np.where(np.abs(rounded) < 2**62, exact, rounded)


def _some_value(chunk: npt.NDArray[Any], lacking: npt.NDArray[np.bool_] | None) -> Constants:
    """A value of each channel that is not missing, 0 if there is none: [C]."""
    first = np.moveaxis(chunk, 1, 0).reshape(chunk.shape[1], -1)
    place = np.zeros(len(first), dtype=np.int64)
    if lacking is not None:
        place = (~np.moveaxis(lacking, 1, 0).reshape(len(first), -1)).argmax(axis=1)
    values = first[np.arange(len(first)), place].astype(np.float64)
    return np.where(np.isfinite(values), values, 0.0)


def _power(largest: Constants) -> npt.NDArray[np.int64]:
    """Exponent of the unit for values up to `largest`: 0 for ordinary ones, none below for 0."""
    exponent = np.frexp(largest)[1].astype(np.int64)
    ordinary = np.abs(exponent) < 300
    return np.where(largest == 0, -1100, np.where(ordinary, 0, exponent))
