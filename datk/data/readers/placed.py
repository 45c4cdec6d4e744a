"""Rows straight from a file, where they lie there as they are in memory.

They are read, not mapped: where a mapped file is cut short, the system ends the process without a word.
"""

import math
import os
import threading
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

CLOSE = 8192
"""Bytes between two rows that are rather read and dropped than skipped, unless rows are much smaller."""

_seeking = threading.Lock()


class PlacedRows:
    """Reads rows by their place in the file: several times as fast as a selection of HDF5, whose lock and
    bookkeeping cost more than the bytes of an image."""

    def __init__(
        self,
        handle: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        starts: npt.NDArray[np.int64],
        per_start: int,
        keep: Any,
    ) -> None:
        """Rows lie one behind the other in stretches.

        Args:
            handle: of the file that is open, whatever stands at its path by now.
            starts: byte at which each stretch begins.
            per_start: rows of a stretch.
            keep: what holds the file open.
        """
        self.shape, self.dtype = shape, dtype
        self._handle, self._starts, self._per_start, self._keep = handle, starts, per_start, keep
        self._row_bytes = math.prod(shape[1:]) * dtype.itemsize

    def __getitem__(self, rows: slice | npt.NDArray[np.integer]) -> npt.NDArray[Any]:
        """Rows of a slice or of a strictly increasing index, in the file's byte order. Raises `EOFError` if
        the file has become too short for them."""
        if isinstance(rows, slice):
            rows = np.arange(self.shape[0])[rows]
        size = self._row_bytes
        read = np.empty((len(rows), size), dtype=np.uint8)
        if len(rows) and size:
            stretch = rows // self._per_start
            places = self._starts[stretch] + rows % self._per_start * size
            gaps = np.diff(places) - size
            joined = (gaps == 0) | ((np.diff(stretch) == 0) & (gaps <= min(CLOSE, 16 * size)))
            ends = np.append(np.flatnonzero(~joined) + 1, len(rows))
            firsts = np.concatenate([[0], ends[:-1]])
            spans = places[ends - 1] + size - places[firsts]
            whole = memoryview(read.reshape(-1).data)
            each = zip(firsts.tolist(), ends.tolist(), places[firsts].tolist(), spans.tolist(), strict=True)
            for first, end, place, span in each:
                if span == (end - first) * size:
                    read_at(self._handle, whole[first * size : end * size], place)
                else:
                    self._pick(read[first:end], places[first:end], span)
        values: npt.NDArray[Any] = read.reshape(-1).view(self.dtype).reshape(len(rows), *self.shape[1:])
        return values

    def _pick(self, into: npt.NDArray[np.uint8], places: npt.NDArray[np.int64], span: int) -> None:
        """Rows that are near each other, in a single read: they are of one stretch, so that whole rows lie
        between them."""
        size = self._row_bytes
        between = np.empty((span // size, size), dtype=np.uint8)
        read_at(self._handle, memoryview(between.reshape(-1).data), int(places[0]))
        np.take(between, (places - places[0]) // size, axis=0, out=into)


def read_at(handle: int, into: memoryview, place: int) -> None:
    """Fill bytes from a place of an open file on. Raises `EOFError` where the file ends before them."""
    done = _read_some(handle, into, place)
    while done < len(into):
        count = _read_some(handle, into[done:], place + done)
        if count == 0:
            raise EOFError(f"it was cut short after it was opened: byte {place + done} is not there any more")
        done += count


def _read_some(handle: int, into: memoryview, place: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(handle, [into], place)
    with _seeking:  # Windows has no other way
        os.lseek(handle, place, os.SEEK_SET)
        part = os.read(handle, min(len(into), 2**30))
    into[: len(part)] = part
    return len(part)


def placed_rows(dataset: h5py.Dataset) -> PlacedRows | None:
    """The rows of a dataset, or None if they are not stored whole, plainly and in a single file."""
    if not is_plain(dataset) or dataset.ndim < 2:
        return None
    found = _starts(dataset)
    if found is None:
        return None
    handle = dataset.file.id.get_vfd_handle()
    return PlacedRows(handle, dataset.shape, dataset.dtype, *found, keep=dataset.file)


def is_plain(dataset: h5py.Dataset) -> bool:
    """Whether the bytes of values lie in the file as they do in memory, wherever that is."""
    layout = dataset.id.get_create_plist()
    return bool(
        dataset.dtype.kind in "fiu"
        and hasattr(os, "preadv")  # without it the place of HDF5's own handle would be moved
        and dataset.id.get_type() == h5py.h5t.py_create(dataset.dtype)  # HDF5 converts others, as bfloat16
        and layout.get_nfilters() == 0
        and dataset.external is None
        and not dataset.is_virtual
        and dataset.file.driver == "sec2"
        and dataset.file.mode == "r"  # what is being written may not have reached the file
        and dataset.file.userblock_size == 0
    )


def _starts(dataset: h5py.Dataset) -> tuple[npt.NDArray[np.int64], int] | None:
    """Byte of the file at which each stretch of rows begins, and how many rows it has."""
    rows = dataset.shape[0]
    if dataset.chunks is None:
        start = dataset.id.get_offset()
        return None if start is None else (np.array([start]), max(1, rows))
    per_chunk = dataset.chunks[0]
    if dataset.chunks[1:] != dataset.shape[1:] or not hasattr(dataset.id, "chunk_iter"):
        return None
    starts = np.full(-(-rows // per_chunk), -1)

    def found(chunk: Any) -> None:
        starts[chunk.chunk_offset[0] // per_chunk] = chunk.byte_offset

    dataset.id.chunk_iter(found)
    if (starts < 0).any():  # a chunk that was never written has no place
        return None
    return starts, per_chunk
