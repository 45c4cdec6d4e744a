"""Rows of an HDF5 dataset straight from its file, where they lie there as they are in memory."""

import math
import mmap
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt


class MappedRows:
    """Reads single rows by their place in the file: several times as fast as a selection of HDF5, whose lock
    and bookkeeping cost more than the bytes of an image."""

    def __init__(self, dataset: h5py.Dataset, places: npt.NDArray[np.int64]) -> None:
        self.places = places
        self.shape, self.dtype = dataset.shape[1:], dataset.dtype
        self.row_bytes = math.prod(self.shape) * self.dtype.itemsize
        # The file that is open, whatever stands at its path by now.
        handle = dataset.file.id.get_vfd_handle()
        self.bytes = np.frombuffer(mmap.mmap(handle, 0, access=mmap.ACCESS_READ), dtype=np.uint8)

    def __getitem__(self, rows: npt.NDArray[np.integer]) -> npt.NDArray[Any]:
        """The given rows, in the file's byte order."""
        read = np.empty((len(rows), self.row_bytes), dtype=np.uint8)
        for line, place in zip(read, self.places[rows].tolist(), strict=True):
            line[:] = self.bytes[place : place + self.row_bytes]
        values: npt.NDArray[Any] = read.view(self.dtype).reshape(len(rows), *self.shape)
        return values


def mapped_rows(dataset: h5py.Dataset) -> MappedRows | None:
    """The rows of a dataset, or None if they are not stored whole, plainly and in a single file."""
    layout = dataset.id.get_create_plist()
    plain = (
        dataset.ndim > 1
        and dataset.dtype.kind in "fiu"
        and dataset.id.get_type() == h5py.h5t.py_create(dataset.dtype)  # HDF5 converts others, as bfloat16
        and layout.get_nfilters() == 0
        and dataset.external is None
        and not dataset.is_virtual
        and dataset.file.driver == "sec2"
        and dataset.file.userblock_size == 0
    )
    places = _places(dataset) if plain else None
    return None if places is None else MappedRows(dataset, places)


def _places(dataset: h5py.Dataset) -> npt.NDArray[np.int64] | None:
    """Byte of the file at which each row begins."""
    rows, row_bytes = dataset.shape[0], dataset.dtype.itemsize * math.prod(dataset.shape[1:])
    if dataset.chunks is None:
        start = dataset.id.get_offset()
        return None if start is None else start + row_bytes * np.arange(rows)
    per_chunk = dataset.chunks[0]
    if dataset.chunks[1:] != dataset.shape[1:] or not hasattr(dataset.id, "chunk_iter"):
        return None
    starts = np.full(-(-rows // per_chunk), -1)

    def found(chunk: Any) -> None:
        starts[chunk.chunk_offset[0] // per_chunk] = chunk.byte_offset

    dataset.id.chunk_iter(found)
    if (starts < 0).any():  # a chunk that was never written has no place
        return None
    number = np.arange(rows)
    places: npt.NDArray[np.int64] = starts[number // per_chunk] + number % per_chunk * row_bytes
    return places
