"""Rows that show the same picture: exact copies, flipped or turned ones, and those that differ a little.

Images are near duplicates if a flip or a quarter turn makes their pixels correlate (0.99), and their fine
detail too (0.97): what is left of the signed square root of an image without its local mean. The first alone
would take any two bright point sources for one another. Detail is where two exposures differ, through noise
if nothing else; a copy that was rounded, rescaled, or given noise of a hundredth of its contrast keeps it,
one that was compressed with losses does not. How other turns are found is told in
`datk/data/duplicates/turned.py`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from datk.data.duplicates.likeness import (
    Fingerprints,
    JoinedRows,
    equal_rows,
    like_rows,
    read_rows,
)
from datk.data.duplicates.turned import turned_copies
from datk.data.splits import RowNumbers
from datk.interfaces import Array

__all__ = ["Duplicates", "find_all_duplicates", "find_duplicates", "group_duplicates"]


@dataclass(frozen=True)
class Duplicates:
    """Pairs of rows. Each row of a larger group of copies is in some of its pairs, not in all."""

    first: RowNumbers
    """[P] row numbers in x."""
    second: RowNumbers
    """[P] row numbers in the other array; without one in x, and larger than `first`."""
    exact: npt.NDArray[np.bool_]
    """[P] whether the values are the same in float32, but for a flip or a quarter turn."""

    def __len__(self) -> int:
        return len(self.first)


def find_duplicates(
    x: Array, other: Array | None = None, *, rotations: Literal["quarter", "any"] = "quarter"
) -> Duplicates:
    """Pairs of rows with the same picture, within x or between x and another array.

    Rows are read in pieces, and a few kB are kept of each. Rows with values that are not finite have no
    duplicates; images of a single value have exact ones only.

    Args:
        x: images [N, C, H, W], or feature vectors [N, F], of which only equal ones are duplicates.
        other: [M, ...] rows of the same shape.
        rotations: "quarter" for flips and quarter turns; "any" for turns by any angle and zooms of 0.8 to
            1.25 as well, whatever the corners were filled with.

    Raises:
        DataError: the rows differ in shape, or are neither images nor vectors.
    """
    both = JoinedRows(x, other)
    return _duplicates(both, read_rows(both), rotations)


def find_all_duplicates(x: Array, other: Array) -> tuple[Duplicates, Duplicates, Duplicates]:
    """Pairs within x, within another array, and between the two, as `find_duplicates` finds them one by one,
    but reading the rows once."""
    both = JoinedRows(x, other)
    kept = read_rows(both)
    parts = slice(0, both.start), slice(both.start, both.total)
    in_x, in_other = (
        _duplicates(JoinedRows(array, None), kept.part(rows), "quarter")
        for array, rows in zip((x, other), parts, strict=True)
    )
    return in_x, in_other, _duplicates(both, kept, "quarter")


def _duplicates(both: JoinedRows, kept: Fingerprints, rotations: Literal["quarter", "any"]) -> Duplicates:
    first, second = equal_rows(both, kept.digests)
    exact = np.ones(len(first), dtype=bool)
    if kept.miniatures is not None:
        rows = np.setdiff1d(np.flatnonzero(kept.varied), second)
        near = like_rows(both, rows, kept.miniatures)
        if rotations == "any":
            near = np.unique(np.concatenate([near, turned_copies(both, rows)]), axis=0)
        first, second = np.append(first, near[:, 0]), np.append(second, near[:, 1])
        exact = np.append(exact, np.zeros(len(near), dtype=bool))
    if len(both.arrays) == 2:
        across = (first < both.start) & (second >= both.start)
        first, second, exact = first[across], second[across] - both.start, exact[across]
    order = np.lexsort((second, first))
    return Duplicates(first[order], second[order], exact[order])


def group_duplicates(x: Array, *, rotations: Literal["quarter", "any"] = "quarter") -> RowNumbers:
    """Group numbers [N] from 0, in the order of their first rows: duplicates, and duplicates of duplicates,
    have the same. See `find_duplicates`."""
    pairs = find_duplicates(x, rotations=rotations)
    return linked(pairs.first, pairs.second, x.shape[0])


def linked(first: RowNumbers, second: RowNumbers, rows: int) -> RowNumbers:
    """Numbers [rows] from 0 of the sets of rows that hang together by pairs first = second."""
    links = coo_array((np.ones(len(first)), (first, second)), shape=(rows, rows))
    sets: RowNumbers = connected_components(links, directed=False)[1].astype(np.int64)
    return sets
