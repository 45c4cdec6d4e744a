"""How alike rows are: what is kept of each, which may be copies, and whether they are."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from datk.base.errors import DataError
from datk.base.rng import numpy_generator
from datk.data.cleaning import Cleaning
from datk.data.rows import Reader, chunks, storable
from datk.data.splits import RowNumbers
from datk.data.standardize import Standardize, fits_float32
from datk.data.symmetries import dihedral
from datk.interfaces import Array

CORRELATION, DETAIL = 0.99, 0.97
"""Of the pixels and of the fine detail of near duplicates. Of unlike images of FIRST, NVSS and SDSS none
reaches both; the nearest are unresolved radio sources on an empty sky, with 0.92 in their detail."""

SMALL, SMALL_CORRELATION = 12, 0.99
"""Height and width of the miniatures in which candidates are sought, and how much theirs must correlate."""

NEIGHBOURS = 16
"""Candidates for each image; larger groups of copies hang together through them."""

BLOCK = 1024
"""Rows that are compared with all others at a time."""

UNIT_ROWS = 1000
"""Rows that say in which unit float32 holds the values of all."""

SYMMETRIES = range(8)


class JoinedRows:
    """The rows of one array, or of two, one after the other, as float32: standardised as the first array is
    where float32 would not hold its values as they are, so that rounding makes no rows equal."""

    def __init__(self, x: Array, other: Array | None) -> None:
        self.arrays = [x] if other is None else [x, other]
        self.shape = tuple(x.shape[1:])
        if len(self.shape) not in (1, 3):
            raise DataError(f"duplicates are sought among [N, C, H, W] or [N, F], not {list(x.shape)}")
        if other is not None and tuple(other.shape[1:]) != self.shape:
            raise DataError(f"rows of shapes {list(self.shape)} and {list(other.shape[1:])} cannot be alike")
        self.start = x.shape[0]
        self.total = sum(array.shape[0] for array in self.arrays)
        self.standardized = _standardized(x)

    def boundary(self, rows: RowNumbers) -> int:
        """How many of the rows, which increase, belong to the first array."""
        return int(np.searchsorted(rows, self.start))

    def _floats(self, chunk: npt.NDArray[Any]) -> Tensor:
        with np.errstate(over="ignore"):
            if self.standardized is None:
                return torch.from_numpy(storable(chunk)).float()
            return torch.from_numpy(self.standardized(chunk, np.zeros(0, dtype=np.int64)))

    def pieces(self) -> Iterator[tuple[int, Tensor]]:
        """All rows in pieces: (number of the first, [n, *shape])."""
        for array, offset in zip(self.arrays, (0, self.start), strict=False):
            for start, chunk in chunks(array):
                yield offset + start, self._floats(chunk)

    def read(self, rows: RowNumbers) -> Tensor:
        """The given rows in any order, [n, *shape]."""
        unique, inverse = np.unique(rows, return_inverse=True)
        cut = self.boundary(unique)
        parts = zip(self.arrays, (unique[:cut], unique[cut:] - self.start), strict=False)
        values = [self._floats(array[part]) for array, part in parts if len(part)]
        return torch.cat(values)[torch.from_numpy(inverse)]


def _standardized(x: Array) -> Reader | None:
    """What makes float32 of values that it does not hold as they are; by a sample of the rows."""
    if x.dtype.itemsize <= 2 or x.dtype == np.float32 or not x.shape[0]:
        return None
    standardize = Standardize(tuple(x.shape[1:]), cleaning=Cleaning((np.nan, np.inf, -np.inf)))
    rows = numpy_generator(0, "duplicates", "unit").permutation(x.shape[0])[:UNIT_ROWS]
    standardize.fit(x, np.sort(rows))
    mean, std, _, _ = standardize.constants()
    standardize.missing = None  # rows with such values have no duplicates
    return None if fits_float32(mean, std) else standardize.reader(np.zeros(0, dtype=np.int64))


# --- what is kept of each row --------------------------------------------------------------------------


@dataclass(frozen=True)
class Fingerprints:
    """What comparing begins with."""

    digests: RowNumbers
    """[N] equal for equal rows, flipped and turned ones; unique for those that are not finite."""
    varied: npt.NDArray[np.bool_]
    """[N] whether a row is finite and has more than one value."""
    miniatures: Tensor | None
    """[N, C, 12, 12] of images, normalised; None for vectors."""

    def part(self, rows: slice) -> "Fingerprints":
        """That of some neighbouring rows."""
        small = None if self.miniatures is None else self.miniatures[rows]
        return Fingerprints(self.digests[rows], self.varied[rows], small)


def read_rows(both: JoinedRows) -> Fingerprints:
    """Read every row once."""
    weights = _orbit_weights(both.shape)
    digests, varied = torch.empty(both.total, dtype=torch.int64), torch.empty(both.total, dtype=torch.bool)
    images = len(both.shape) == 3
    miniatures = torch.zeros(both.total, both.shape[0], SMALL, SMALL) if images else None
    for start, x in both.pieces():
        rows = slice(start, start + len(x))
        flat = x.flatten(1)
        finite = flat.isfinite().all(dim=1)
        numbers = torch.arange(start, start + len(x))
        digests[rows] = torch.where(finite, _digest(flat, weights), numbers)
        varied[rows] = finite & (flat.amax(dim=1) > flat.amin(dim=1))
        if miniatures is not None:
            small = F.adaptive_avg_pool2d(_root(x.nan_to_num(0, 0, 0)), SMALL)
            miniatures[rows] = _normalised(small).view_as(small)
    return Fingerprints(digests.numpy(), varied.numpy(), miniatures)


def _orbit_weights(shape: tuple[int, ...]) -> Tensor:
    """A random number for each value of a row, the same for all pixels that flips and turns exchange."""
    generator = numpy_generator(0, "duplicates")
    if len(shape) == 1:
        return torch.from_numpy(generator.integers(2**62, size=shape) * 2 + 1)
    channels, height, width = shape
    pixels = torch.arange(height * width).view(1, 1, height, width).expand(8, 1, height, width)
    orbits = dihedral(pixels, torch.tensor(SYMMETRIES)).amin(dim=0).flatten()
    weights = torch.from_numpy(generator.integers(2**62, size=(channels, height * width)) * 2 + 1)
    return weights[:, orbits].flatten()


def _digest(flat: Tensor, weights: Tensor) -> Tensor:
    """A sum over the values that does not depend on their order within an orbit."""
    bits = (flat + 0.0).view(torch.int32).to(torch.int64)  # + 0.0 makes -0 and 0 the same
    mixed = bits * -0x61C8864680B583EB  # an odd constant, 2^64 over the golden ratio
    mixed ^= mixed >> 29
    return (mixed * weights).sum(dim=1)


def _root(x: Tensor) -> Tensor:
    """The signed square root about each channel's median: the faint sky counts beside bright centres."""
    flat = x.flatten(2).numpy()
    middle = flat.shape[-1] // 2
    median = np.partition(flat, middle)[..., middle]  # torch's takes long where many values are equal
    deviation = x - torch.from_numpy(median)[..., None, None]
    return deviation.sign() * deviation.abs().sqrt()


def _detail(root: Tensor) -> Tensor:
    """What differs from the mean of 3 x 3 pixels."""
    return root - F.avg_pool2d(F.pad(root, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def _normalised(x: Tensor) -> Tensor:
    """Each channel less its mean, each row of length 1: [B, C * H * W]."""
    centred = x.flatten(2) - x.flatten(2).mean(dim=-1, keepdim=True)
    return F.normalize(centred.flatten(1), eps=1e-20)


# --- comparing -----------------------------------------------------------------------------------------


def equal_rows(both: JoinedRows, digests: RowNumbers) -> tuple[RowNumbers, RowNumbers]:
    """Pairs of equal rows, each later one of several with the first."""
    _, firsts, inverse = np.unique(digests, return_index=True, return_inverse=True)
    second = np.flatnonzero(firsts[inverse] != np.arange(len(digests)))
    first = firsts[inverse[second]]
    same = np.zeros(len(second), dtype=bool)
    for part, a, b in _pairs(both, first, second):
        found = (a == b).flatten(1).all(dim=1)
        for code in SYMMETRIES[1:] if b.ndim == 4 else ():
            unlike = torch.nonzero(~found).flatten()
            found[unlike] = (a[unlike] == _turned(b[unlike], code)).flatten(1).all(dim=1)
        same[part] = found.numpy()
    return first[same], second[same]


def like_rows(both: JoinedRows, rows: RowNumbers, miniatures: Tensor) -> RowNumbers:
    """Pairs [P, 2] of nearly equal images among the given rows, the smaller number first."""
    miniatures = miniatures[torch.from_numpy(rows)]
    descriptors = _orbits_sorted(miniatures)
    best, position = nearest(descriptors, descriptors, rows, both, NEIGHBOURS)
    asker = torch.arange(len(rows) - len(best), len(rows))[:, None].expand_as(best)
    close = best > SMALL_CORRELATION
    near = np.unique(np.sort(torch.stack([position[close], asker[close]], dim=1).numpy()), axis=0)
    flat = miniatures.flatten(1)
    best = torch.full((len(near),), -1.0)
    for code in SYMMETRIES:
        turned = _turned(miniatures, code).flatten(1)
        for start in range(0, len(near), BLOCK):
            a, b = torch.from_numpy(near[start : start + BLOCK].T)
            score = (flat[a] * turned[b]).sum(dim=1)
            best[start : start + BLOCK] = torch.maximum(best[start : start + BLOCK], score)
    near = rows[near[(best > SMALL_CORRELATION).numpy()]]
    good = np.zeros(len(near), dtype=bool)
    for part, a, b in _pairs(both, near[:, 0], near[:, 1]):
        fine_a, fine_b = _normalised(_detail(_root(a))), _detail(_root(b))
        pixels_a = _normalised(a)
        found = torch.zeros(len(a), dtype=torch.bool)
        for code in SYMMETRIES:
            detail = (fine_a * _normalised(_turned(fine_b, code))).sum(dim=1)
            pixels = (pixels_a * _normalised(_turned(b, code))).sum(dim=1)
            found |= (detail > DETAIL) & (pixels > CORRELATION)
        good[part] = found.numpy()
    alike: RowNumbers = near[good]
    return alike


def nearest(
    known: Tensor, asking: Tensor, rows: RowNumbers, both: JoinedRows, count: int
) -> tuple[Tensor, Tensor]:
    """Scalar products and positions in `rows` of the rows most like each, [A, count]; best first.

    Within one array every row asks; between two, those of the second ask those of the first.

    Args:
        known: [R, D] descriptors of length 1.
        asking: [R, D] the same, or those of the images when they are zoomed.
        rows: [R] row numbers.
    """
    within = len(both.arrays) == 1
    begin = 0 if within else both.boundary(rows)
    known = known if within else known[:begin]
    count = min(count, len(known))
    best, position = torch.empty(len(rows) - begin, count), torch.empty(len(rows) - begin, count).long()
    for start in range(0, len(best), BLOCK):
        part = slice(start, start + BLOCK)
        table = asking[begin:][part] @ known.T
        if within:
            table[torch.arange(len(table)), torch.arange(start, start + len(table))] = -1
        best[part], position[part] = table.topk(count, dim=1)
    return best, position


def _orbits_sorted(miniatures: Tensor) -> Tensor:
    """The same for all eight symmetries; two images come no farther apart than at the best of them."""
    pixels = torch.arange(SMALL**2).view(1, 1, SMALL, SMALL).expand(8, 1, SMALL, SMALL)
    orbits = dihedral(pixels, torch.tensor(SYMMETRIES)).amin(dim=0).flatten()
    flat = miniatures.flatten(2)
    kinds = np.unique(orbits.numpy()).tolist()
    return torch.cat([flat[..., orbits == kind].sort(dim=-1).values.flatten(1) for kind in kinds], dim=1)


def _turned(x: Tensor, code: int) -> Tensor:
    return dihedral(x, torch.full((len(x),), code))


def _pairs(both: JoinedRows, first: RowNumbers, second: RowNumbers) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Rows of pairs, some at a time: where the pairs are, and both sides [n, *shape]."""
    size = 64
    for start in range(0, len(first), size):
        part = slice(start, start + size)
        yield part, both.read(first[part]), both.read(second[part])
