"""Rows of an HDF5 dataset that are best left to HDF5."""

from typing import Any

import h5py
import numpy as np
import numpy.typing as npt


class RunRows:
    """Reads rows of an increasing index by one read per run of neighbours.

    HDF5's own selection of single rows is many times slower than this where a chunk is a row.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        self.dataset = dataset
        self.shape: tuple[int, ...] = dataset.shape
        self.dtype: np.dtype[Any] = dataset.dtype

    def __getitem__(self, rows: slice | npt.NDArray[np.integer]) -> npt.NDArray[Any]:
        """Rows of a slice or of a strictly increasing index."""
        if isinstance(rows, slice):
            return np.asarray(self.dataset[rows])
        if len(rows) == 0:
            return np.asarray(self.dataset[:0])
        runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
        return np.concatenate([self.dataset[run[0] : run[-1] + 1] for run in runs])
