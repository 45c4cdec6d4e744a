"""Arrays in .npz, .npy and HDF5 files: opened read-only, read as late as possible, never unpickled."""

import difflib
import functools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from datk.base.errors import DataError, DatkError
from datk.data.readers.mapped import MappedRows, mapped_rows


class StoredArray:
    """One array of a file. Of a .npy or HDF5 file no more than the header has been read."""

    def __init__(self, data: Any, name: str) -> None:
        self._data = data
        self.name = name
        self.in_memory = type(data) is np.ndarray
        self.shape: tuple[int, ...] = data.shape
        self.dtype: np.dtype[Any] = data.dtype.newbyteorder("=")

    def __getitem__(self, rows: slice | npt.NDArray[np.integer]) -> npt.NDArray[Any]:
        """Rows of a slice or of a strictly increasing integer array, in the byte order of this machine.

        Raises `DataError` where the file turns out to be damaged.
        """
        with _reading(self.name):
            if not isinstance(rows, np.ndarray):
                values = np.asarray(self._data[rows])
            elif self._mapped is not None:
                values = self._mapped[rows]
            elif isinstance(self._data, h5py.Dataset):
                values = _read_runs(self._data, rows)
            else:
                values = np.asarray(self._data[rows])
            return values.astype(self.dtype, copy=False)

    @functools.cached_property
    def _mapped(self) -> MappedRows | None:
        return mapped_rows(self._data) if isinstance(self._data, h5py.Dataset) else None

    def values(self) -> npt.NDArray[Any]:
        """The whole array; strings of any kind come as str. Raises `DataError` as reading rows does."""
        if self.dtype.kind not in "SO":
            return self[:]
        with _reading(self.name):
            if isinstance(self._data, h5py.Dataset):
                return np.asarray(self._data.asstr("utf-8")[:], dtype=str)
            return np.char.decode(self._data, "utf-8")


def open_array(file: str, key: str) -> StoredArray:
    """The array called `key` in an .npz or HDF5 file, or a .npy file, whose key is its own path.

    A relative path starts in the current directory, `~` is the home directory. Raises `DataError` for a file
    or key that is not there, for a kind of file that is not known, and for one that is damaged.
    """
    name = file if file == key else f"{key!r} in {file}"
    with _reading(name):
        path = Path(file).expanduser()
        if path.is_dir():
            raise DataError(f"{file} is a directory; give a file")
        if not path.is_file():
            raise DataError(f"there is no file {file}{'' if path.is_absolute() else f' in {Path.cwd()}'}")
        suffix = path.suffix.lower()
        if suffix not in _OPENERS:
            raise DataError(f"{file} ends in {suffix!r}; give a file that ends in {', '.join(_OPENERS)}")
        return StoredArray(_OPENERS[suffix](path, key, name), name)


def _open_npz(path: Path, key: str, name: str) -> npt.NDArray[Any]:
    archive = np.load(path, allow_pickle=False)
    if isinstance(archive, np.ndarray):
        raise DataError(f"{path} is no archive but a single array; rename it to end in .npy")
    with archive:
        if key not in archive.files:
            raise _no_such_key(path, key, archive.files)
        array = archive[key]
    if not isinstance(array, np.ndarray):
        raise DataError(f"{name} is not an array; choose another key")
    return array


def _open_npy(path: Path, key: str, name: str) -> npt.NDArray[Any]:
    if name != key:
        raise DataError(f"{path} holds one array without a key; give its path in place of {key!r}")
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.memmap):
        array.close()
        raise DataError(f"{path} is an archive of arrays; rename it to end in .npz")
    return array


def _open_hdf5(path: Path, key: str, name: str) -> h5py.Dataset:
    file = h5py.File(path, "r")
    if key not in file:
        datasets: list[str] = []
        file.visititems(lambda at, item: datasets.append(at) if isinstance(item, h5py.Dataset) else None)
        raise _no_such_key(path, key, datasets)
    dataset = file[key]
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"{name} is a group, not a dataset; give the path of a dataset in it")
    if dataset.shape is None:
        raise DataError(f"{name} is empty")
    return dataset


_OPENERS = {".npz": _open_npz, ".npy": _open_npy, ".h5": _open_hdf5, ".hdf5": _open_hdf5}


def _read_runs(dataset: h5py.Dataset, rows: npt.NDArray[np.integer]) -> npt.NDArray[Any]:
    """Rows of an increasing index, one read per run of neighbours.

    HDF5's own selection of single rows is many times slower than this where a chunk is a row.
    """
    if len(rows) == 0:
        return np.asarray(dataset[:0])
    runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
    return np.concatenate([dataset[run[0] : run[-1] + 1] for run in runs])


def _no_such_key(path: Path, key: str, keys: Iterable[str]) -> DataError:
    keys = sorted(keys)
    close = difflib.get_close_matches(key, keys, n=1)
    listed = ", ".join(keys[:20]) + (", ..." if len(keys) > 20 else "")
    return DataError(
        f"{path} has no array {key!r}"
        + (f"; did you mean {close[0]!r}?" if close else "")
        + (f" It holds: {listed}" if close else f"; it holds: {listed or 'no array at all'}")
    )


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Tell of any failure of NumPy, zipfile, zlib or HDF5 in one line.

    For damaged bytes they raise some dozen kinds of exception, so that a list would never be complete.
    """
    try:
        yield
    except DatkError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if "allow_pickle" in reason:  # what NumPy says of any unknown bytes, with advice to load them
            reason = "it is no array, or one of Python objects"
        raise DataError(
            f"{name} cannot be read ({reason}); see that the file is whole and holds no Python objects"
        ) from error
