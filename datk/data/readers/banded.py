"""Rows that share their place in a file with others: whole bands of them are read at a time, each once."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from datk.data.readers.placed import read_at

WANTED_BYTES = 16 * 2**20
"""What a band should have, so that few reads are needed."""
MOST_BYTES = 128 * 2**20
"""What a band may have in memory."""


class BandedRows(ABC):
    """Rows of which many are read as fast as one.

    The band that was read last is kept, because sequential readers ask for a part of it at a time. Rows that
    are asked for at random should be copied first, see `datk.data.readers.copied`.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    rows_per_band: int
    fits: bool
    """Whether a band may be held in memory."""
    scattered: bool
    """Whether reading a row reads much besides it, or many pieces."""

    def __init__(self) -> None:
        self._last: tuple[int, npt.NDArray[Any]] | None = None

    @abstractmethod
    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Rows of a stretch, from the file."""

    @abstractmethod
    def blocks(self) -> Iterator[tuple[tuple[slice, ...], npt.NDArray[Any]]]:
        """All parts, each read once: where it belongs, and what it holds."""

    def bands(self) -> Iterator[npt.NDArray[Any]]:
        """All bands in order."""
        for start in range(0, self.shape[0], self.rows_per_band):
            yield self.read(start, min(start + self.rows_per_band, self.shape[0]))

    def __getitem__(self, rows: slice | npt.NDArray[np.integer]) -> npt.NDArray[Any]:
        """Rows of a slice or of a strictly increasing index."""
        wanted = np.arange(self.shape[0])[rows] if isinstance(rows, slice) else rows
        found = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        numbers = wanted // self.rows_per_band
        first = 0
        for end in [*(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(wanted)]:
            if end > first:
                found[first:end] = self._of_band(int(numbers[first]), wanted[first:end])
            first = end
        if len(wanted) and wanted[-1] == self.shape[0] - 1:  # a pass has come to its end
            self._last = None
        return found

    def _of_band(self, number: int, rows: npt.NDArray[np.integer]) -> npt.NDArray[Any]:
        """Some rows of a band."""
        start = number * self.rows_per_band
        last = self._last  # another thread may put another in its place
        if last is None or last[0] != number:
            try:
                last = number, self.read(start, min(start + self.rows_per_band, self.shape[0]))
            except OSError:  # damage to other rows of the band is no reason to refuse these
                first, end = int(rows[0]), int(rows[-1]) + 1
                values: npt.NDArray[Any] = self.read(first, end)[rows - first]
                return values
            self._last = last
        return np.asarray(last[1][rows - start])


class ChunkedRows(BandedRows):
    """Rows of an HDF5 dataset whose chunks hold several of them, or pieces of them."""

    def __init__(self, dataset: h5py.Dataset, rows_last: bool = False) -> None:
        """rows_last: the order of the axes is the reverse of that in the file, as MATLAB writes them."""
        super().__init__()
        self.dataset, self.rows_last = dataset, rows_last
        order = slice(None, None, -1 if rows_last else 1)
        self.shape, self.dtype = dataset.shape[order], dataset.dtype
        row_bytes = max(1, math.prod(self.shape[1:]) * self.dtype.itemsize)
        fitting = max(1, WANTED_BYTES // row_bytes)
        if dataset.chunks is None:  # no chunk is read twice where there are none
            self.chunks = (fitting, *self.shape[1:])
        else:
            self.chunks = tuple(dataset.chunks[order])
        together = max(1, min(self.chunks[0], self.shape[0]))
        self.fits = together * row_bytes <= MOST_BYTES
        self.rows_per_band = max(1, fitting // together) * together if self.fits else fitting
        pieces = math.prod(-(-n // c) for n, c in zip(self.shape[1:], self.chunks[1:], strict=True))
        self.scattered = rows_last or together > 1 or pieces > 16

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Rows of a stretch, from the file."""
        return self._select((slice(start, stop), *(slice(None),) * (len(self.shape) - 1)))

    def blocks(self) -> Iterator[tuple[tuple[slice, ...], npt.NDArray[Any]]]:
        """All chunks, each read once: where it belongs, and what it holds."""
        for place in np.ndindex(*(-(-n // c) for n, c in zip(self.shape, self.chunks, strict=True))):
            where = tuple(
                slice(k * c, min((k + 1) * c, n))
                for k, c, n in zip(place, self.chunks, self.shape, strict=True)
            )
            yield where, self._select(where)

    def _select(self, where: tuple[slice, ...]) -> npt.NDArray[Any]:
        if not self.rows_last:
            return np.asarray(self.dataset[where])
        return np.ascontiguousarray(np.asarray(self.dataset[where[::-1]]).T)


class FortranRows(BandedRows):
    """Rows of an array whose first axis is the fastest in the file."""

    scattered = fits = True

    def __init__(
        self, handle: int, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], keep: Any
    ) -> None:
        """keep: what holds the file open."""
        super().__init__()
        self.shape, self.dtype = shape, dtype
        self._handle, self._offset, self._keep = handle, offset, keep
        self.rows_per_band = max(1, MOST_BYTES // 2 // max(1, math.prod(shape[1:]) * dtype.itemsize))

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Rows of a stretch, from the file: a part of each column."""
        size = self.dtype.itemsize
        columns = np.empty((math.prod(self.shape[1:]), (stop - start) * size), np.uint8)
        for number, column in enumerate(columns):
            read_at(self._handle, column.data, self._offset + (number * self.shape[0] + start) * size)
        values: npt.NDArray[Any] = columns.reshape(-1).view(self.dtype)
        return np.ascontiguousarray(values.reshape(*self.shape[:0:-1], stop - start).T)

    def blocks(self) -> Iterator[tuple[tuple[slice, ...], npt.NDArray[Any]]]:
        """The bands, with the rows that they are."""
        start = 0
        for band in self.bands():
            yield (slice(start, start + len(band)),), band
            start += len(band)
