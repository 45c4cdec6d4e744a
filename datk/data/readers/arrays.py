"""Arrays in .npz, .npy and HDF5 files: opened read-only, read as late as possible, never unpickled."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import mmap
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
import numpy.typing as npt

from datk.base.errors import DataError, DatkError
from datk.data.published.records import size_text
from datk.data.readers.banded import BandedRows, ChunkedRows, FortranRows
from datk.data.readers.copied import NoRoomError, copied_rows
from datk.data.readers.hdf5 import Found, no_such_key, open_hdf5
from datk.data.readers.objects import read_objects
from datk.data.readers.placed import PlacedRows, placed_rows
from datk.data.readers.runs import RunRows
from datk.data.readers.sources import Sizes

Rows = npt.NDArray[Any] | PlacedRows | BandedRows | RunRows


class StoredArray:
    """One array of a file. Of a .npy or HDF5 file no more than the header has been read."""

    def __init__(self, data: npt.NDArray[Any] | h5py.Dataset | Found, name: str) -> None:
        """data: an array in memory, a dataset of HDF5, or what `open_array` has found."""
        found = data if isinstance(data, Found) else Found(data)
        self.name = name
        self.notes: list[str] = list(found.notes)
        """What a reader must know of how the array was read."""
        self._data, self._packed = found.data, found.packed
        self._sizes = Sizes(found.data) if isinstance(found.data, h5py.Dataset) else None
        self._rows: Rows = _rows(found)
        self.in_memory = type(self._rows) is np.ndarray  # not a map
        self.shape: tuple[int, ...] = self._rows.shape
        stored = self._rows.dtype.newbyteorder("=")
        self.dtype: np.dtype[Any] = stored if self._packed is None else self._packed.dtype(stored)
        self._no_room = False

    def __getitem__(self, rows: slice | npt.NDArray[np.integer]) -> npt.NDArray[Any]:
        """Rows of a slice or of a strictly increasing integer array, in the byte order of this machine.

        Raises `DataError` where the file turns out to be damaged, or was cut short.
        """
        if isinstance(self._rows, BandedRows) and not self._rows.fits:
            self._copy()
        with reading(self.name):
            try:
                values = np.asarray(self._rows[rows])
            finally:  # HDF5 reads as zeros what is not there any more, or fails for another reason
                if self._sizes is not None:
                    self._sizes.check()
            if self._packed is not None:
                values = self._packed.unpacked(values)
            return values.astype(self.dtype, copy=False)

    def whole_rows(self) -> "StoredArray":
        """The same array, ready for rows at random: where reading one reads many others, all are copied once
        to a file without a name. `notes` says so, or why that could not be."""
        if isinstance(self._rows, BandedRows) and self._rows.scattered:
            self._copy()
        return self

    def _copy(self) -> None:
        banded = self._rows
        if self._no_room or not isinstance(banded, BandedRows):
            return
        what = f"rows of {self.name} lie in pieces of the file that hold other rows too"
        try:
            with reading(self.name):
                self._rows, folder = copied_rows(banded)
                if self._sizes is not None:
                    self._sizes.check()
                self._sizes = None  # the file is not read any more
        except NoRoomError as error:
            self._no_room = True
            self.notes.append(
                f"{what}, so that reading is slow: {error}; make room, or write the array anew with chunks "
                "of one row"
            )
            return
        size = size_text(float(np.prod(banded.shape)) * banded.dtype.itemsize)
        self.notes.append(
            f"{what}: they were copied once ({size} in {folder}, which are free again when the program ends)"
        )

    def values(self) -> npt.NDArray[Any]:
        """The whole array; strings of any kind come as str. Raises `DataError` as reading rows does."""
        if self.dtype.kind == "O" and not isinstance(self._data, h5py.Dataset):
            return self[:]
        if self.dtype.kind not in "SO":
            return self[:]
        with reading(self.name):
            if isinstance(self._data, h5py.Dataset):
                return np.asarray(self._data.asstr("utf-8")[:], dtype=str)
            return np.char.decode(np.asarray(self._rows[:]), "utf-8")


def as_stored(x: Any, name: str) -> Any:
    """Rows of a memory map or of a dataset of HDF5 that somebody opened, read as those of `open_array`; any
    other array as it is."""
    if isinstance(x, np.memmap | h5py.Dataset) and x.dtype.isnative and x.dtype.kind in "biuf":
        return StoredArray(x, name)
    return x


def open_array(file: str, key: str) -> StoredArray:
    """The array called `key` in an .npz or HDF5 file, or a .npy file, whose key is its own path.

    HDF5 are .h5, .hdf5, .hdf and .he5, MATLAB's .mat (version 7.3), netCDF-4 and AnnData (.h5ad). A relative
    path starts in the current directory, `~` is the home directory. Raises `DataError` for a file or key that
    is not there, for a kind of file that is not known, and for one that is damaged.
    """
    name = file if file == key else f"{key!r} in {file}"
    with reading(name):
        path = Path(file).expanduser()
        if path.is_dir():
            raise DataError(f"{file} is a directory; give a file")
        if not path.is_file():
            raise DataError(f"there is no file {file}{'' if path.is_absolute() else f' in {Path.cwd()}'}")
        suffix = path.suffix.lower()
        if suffix == ".npz":
            return StoredArray(_open_npz(path, key, name), name)
        if suffix == ".npy":
            return StoredArray(_open_npy(path, key, name), name)
        if suffix in HDF5:
            return StoredArray(open_hdf5(path, key, name), name)
        raise DataError(f"{file} ends in {suffix!r}; give a file that ends in {', '.join(SUFFIXES)}")


HDF5 = (".h5", ".hdf5", ".hdf", ".he5", ".mat", ".nc", ".nc4", ".h5ad")
SUFFIXES = (".npz", ".npy", *HDF5)
"""The files that can be read."""


def _rows(found: Found) -> Rows:
    """Rows as they are best read."""
    data = found.data
    if isinstance(data, np.memmap) and isinstance(data.base, mmap) and data.mode == "r" and data.ndim > 0:
        # Not a view of a map, nor one that was written to: the file holds all of it.
        return _of_map(data, Path(str(data.filename)).open("rb"))
    if isinstance(data, np.ndarray | PlacedRows | BandedRows):
        return data
    if data.size == 0:
        return np.zeros(data.shape[:: -1 if found.rows_last else 1], data.dtype)
    if not found.rows_last and (placed := placed_rows(data)) is not None:
        return placed
    if data.ndim < 2 or data.dtype.kind not in "biuf":
        return RunRows(data)
    chunked = ChunkedRows(data, found.rows_last)
    return chunked if chunked.scattered else RunRows(data)


def _open_npz(path: Path, key: str, name: str) -> npt.NDArray[Any]:
    archive = np.load(path, allow_pickle=False)
    if isinstance(archive, np.ndarray):
        raise DataError(f"{path} is no archive but a single array; rename it to end in .npy")
    with archive:
        if key not in archive.files:
            raise no_such_key(path, key, archive.files)
        try:
            array = archive[key]
        except ValueError as error:
            if "allow_pickle" not in str(error):
                raise
            with zipfile.ZipFile(path) as opened, opened.open(f"{key}.npy") as member:
                return read_objects(member, name)
    if not isinstance(array, np.ndarray):
        raise DataError(f"{name} is not an array; choose another key")
    return array


def _open_npy(path: Path, key: str, name: str) -> npt.NDArray[Any] | Found:
    if name != key:
        raise DataError(f"{path} holds one array without a key; give its path in place of {key!r}")
    file = path.open("rb")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "Python objects" not in str(error):
            raise
        return read_objects(file, name)
    if not isinstance(array, np.memmap):
        array.close()
        raise DataError(f"{path} is an archive of arrays; rename it to end in .npz")
    if array.ndim == 0 or array.size == 0:
        return np.asarray(np.load(path, allow_pickle=False))
    return Found(_of_map(array, file))


def _of_map(array: npt.NDArray[Any], file: IO[bytes]) -> PlacedRows | FortranRows:
    """The rows of a map, read from its file: of the map itself nothing is read."""
    assert isinstance(array, np.memmap)
    shape, dtype = array.shape, array.dtype
    if not array.flags.c_contiguous:
        return FortranRows(file.fileno(), array.offset, shape, dtype, keep=file)
    return PlacedRows(file.fileno(), shape, dtype, np.array([array.offset]), max(1, shape[0]), keep=file)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Tell of any failure of NumPy, zipfile, zlib or HDF5 in one line.

    For damaged bytes they raise some dozen kinds of exception, so that a list would never be complete.
    """
    try:
        yield
    except (DatkError, NoRoomError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if "allow_pickle" in reason:  # what NumPy says of any unknown bytes, with advice to load them
            reason = "it is no array, or one of Python objects"
        raise DataError(
            f"{name} cannot be read ({reason}); see that the file is whole and holds no Python objects"
        ) from error
