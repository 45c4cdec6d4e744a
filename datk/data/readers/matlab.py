"""MATLAB's .mat files of version 7.3, which are HDF5 with the axes in reverse."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from datk.base.errors import DataError

SIGNATURE = b"\x89HDF\r\n\x1a\n"


def check_version(path: Path, beginning: bytes) -> None:
    """Raise `DataError` for a .mat file of an earlier version."""
    if beginning.startswith((SIGNATURE, b"MATLAB 7.3")) or h5py.is_hdf5(path):
        return
    version = "version 5" if beginning.startswith(b"MATLAB 5") else "an earlier version, or damaged"
    raise DataError(
        f"{path} is a MATLAB file of {version}, which is no HDF5; in MATLAB save it with -v7.3: "
        f"save('{path.name}', 'x', 'y', '-v7.3')"
    )


def meant(dataset: h5py.Dataset, name: str) -> tuple[h5py.Dataset | npt.NDArray[Any], bool]:
    """What MATLAB saved: the dataset and whether its axes are in reverse, or texts in memory.

    MATLAB writes the first axis as the fastest and HDF5 names axes from the slowest, so that an array of
    N x H x W is a dataset of (W, H, N).
    """
    kind = _text(dataset.attrs.get("MATLAB_class", ""))
    if dataset.attrs.get("MATLAB_empty", 0):
        raise DataError(f"{name} is empty")
    if kind == "char":
        return _characters(dataset[()]), False
    if kind == "cell" or h5py.check_ref_dtype(dataset.dtype) is not None:
        return _cells(dataset, name), False
    if dataset.dtype.kind == "V":
        raise DataError(f"{name} holds complex numbers or a structure; save real numbers")
    if dataset.ndim < 2:
        return dataset, False
    return dataset, True


def _characters(codes: npt.NDArray[Any]) -> npt.NDArray[np.str_]:
    """Rows of a matrix of characters [length, N], without the blanks that make them equally long."""
    columns = np.atleast_2d(codes).T
    return np.array(["".join(map(chr, row)).rstrip(" \0") for row in columns.tolist()], dtype=str)


def _cells(dataset: h5py.Dataset, name: str) -> npt.NDArray[np.str_]:
    """A cell array of texts, in MATLAB's order."""
    texts = []
    for reference in np.asarray(dataset[()]).T.reshape(-1, order="F").tolist():
        item = dataset.file[reference]
        if _text(item.attrs.get("MATLAB_class", "")) != "char":
            raise DataError(f"{name} is a cell array of more than texts; save an array of numbers or texts")
        empty = item.attrs.get("MATLAB_empty", 0)
        texts.append("" if empty else "".join(map(chr, np.asarray(item[()]).T.reshape(-1).tolist())))
    return np.array(texts, dtype=str)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
