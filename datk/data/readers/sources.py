"""The files that an HDF5 dataset is made of. HDF5 reads what is missing of them as zeros, without a word."""

import glob
import os
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from datk.base.errors import DataError

DEEPEST = 8
"""Virtual datasets of virtual datasets that are followed."""


class Sizes:
    """Sizes of the files behind a dataset, which must not shrink while it is read."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        try:
            self._handle = dataset.file.id.get_vfd_handle() if dataset.file.mode == "r" else None
        except Exception:  # a file in memory, or one of a driver without a handle
            self._handle = None
        self._size = 0 if self._handle is None else os.fstat(self._handle).st_size
        self._others = {path: path.stat().st_size for path in other_files(dataset)}

    def check(self) -> None:
        """Raise `EOFError` if a file has become shorter than it was, or is gone."""
        if self._handle is not None and os.fstat(self._handle).st_size < self._size:
            raise EOFError("it was cut short after it was opened")
        for path, size in self._others.items():
            if not path.exists():
                raise EOFError(f"{path}, which it is made of, is gone")
            if path.stat().st_size < size:
                raise EOFError(f"{path}, which it is made of, was cut short after it was opened")


def check_sources(dataset: h5py.Dataset, name: str, depth: int = 0) -> None:
    """Raise `DataError` for a virtual dataset, or one with external storage, of which a part is missing."""
    folder = Path(dataset.file.filename).parent
    for file, offset, size in dataset.external or ():
        found = _external(dataset, file)
        if found is None:
            raise DataError(
                f"{name} keeps its values in {file}, and there is no such file; put it back, in the current "
                "directory if its path is relative"
            )
        needed = size if size < h5py.h5s.UNLIMITED else 0
        if len(dataset.external) == 1:
            needed = dataset.size * dataset.dtype.itemsize
        end = offset + needed
        if found.stat().st_size < end:
            raise DataError(f"{name} keeps its values in {file}, which is too short; see that it is whole")
    if not dataset.is_virtual or depth == DEEPEST:
        return
    for source in dataset.virtual_sources():
        if source.file_name == ".":
            _check_source(dataset.file, source, name, depth)
            continue
        paths = _virtual(folder, source.file_name)
        if not paths:
            raise DataError(
                f"{name} is a virtual dataset of {source.dset_name!r} in {source.file_name}, and there is no "
                f"such file; put it back, in {folder} if its path is relative"
            )
        for path in paths:
            try:
                opened = h5py.File(path, "r")
            except OSError as error:
                raise DataError(
                    f"{name} is a virtual dataset of {path}, which cannot be read "
                    f"({' '.join(str(error).split())})"
                ) from None
            with opened:
                _check_source(opened, source, name, depth)


def uncovered(dataset: h5py.Dataset) -> str | None:
    """What to say of values that nobody ever wrote, which HDF5 reads as the fill value."""
    fill = np.asarray(dataset.fillvalue).item() if dataset.dtype.kind in "biuf" else None
    if dataset.is_virtual:
        spaces = [source.vspace for source in dataset.virtual_sources()]
        covered = sum(space.get_select_npoints() for space in spaces)
        if covered >= dataset.size:
            return None
        return f"{dataset.size - covered} of {dataset.size} values have no source and read as {fill}"
    if dataset.chunks is not None and hasattr(dataset.id, "get_num_chunks"):
        wanted = int(np.prod([-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True)]))
        written = dataset.id.get_num_chunks()
        if written >= wanted:
            return None
        return f"{wanted - written} of {wanted} chunks were never written and read as {fill}"
    plain = dataset.external is None and dataset.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
    if plain and dataset.size and dataset.id.get_offset() is None:
        return f"nothing of it was ever written, and all reads as {fill}"
    return None


def other_files(dataset: h5py.Dataset) -> Iterator[Path]:
    """Files that a dataset is made of besides its own."""
    for file, _, _ in dataset.external or ():
        if (found := _external(dataset, file)) is not None:
            yield found
    if dataset.is_virtual:
        folder = Path(dataset.file.filename).parent
        names = {source.file_name for source in dataset.virtual_sources()} - {"."}
        for name in names:
            yield from _virtual(folder, name)


def _check_source(file: h5py.File, source: h5py._hl.vds.VDSmap, name: str, depth: int) -> None:
    where = f"{name} is a virtual dataset of {source.dset_name!r} in {file.filename}"
    dataset = file.get(source.dset_name) if "%b" not in source.dset_name else None
    if "%b" in source.dset_name:
        return
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"{where}, which has no such dataset; put the right file in its place")
    space = source.src_space
    if space.get_select_type() == h5py.h5s.SEL_HYPERSLABS:
        extent = tuple(last + 1 for last in space.get_select_bounds()[1])
        small = len(extent) != dataset.ndim or any(k > n for k, n in zip(extent, dataset.shape, strict=True))
        small &= h5py.h5s.UNLIMITED not in space.get_simple_extent_dims(True)
    else:  # the whole source
        small = dataset.size < source.vspace.get_select_npoints()
    if small:
        raise DataError(f"{where}, whose shape {dataset.shape} is too small; see that it is whole")
    check_sources(dataset, name, depth + 1)


def _external(dataset: h5py.Dataset, file: str) -> Path | None:
    prefix = os.environ.get("HDF5_EXTFILE_PREFIX", "")
    folder = Path(dataset.file.filename).parent
    prefix = prefix.replace("${ORIGIN}", str(folder))
    return next((path for path in (Path(prefix) / file, Path(file)) if path.is_file()), None)


def _virtual(folder: Path, file: str) -> list[Path]:
    """Where HDF5 looks for a source: beside the file, then from the current directory; %b are numbers."""
    prefix = os.environ.get("HDF5_VDS_PREFIX", "").replace("${ORIGIN}", str(folder))
    places = [Path(file)] if Path(file).is_absolute() else []
    places += [*([Path(prefix) / Path(file).name] if prefix else []), folder / file, Path(file)]
    if Path(file).is_absolute():
        places.append(folder / Path(file).name)
    for place in places:
        if "%b" in file:
            pattern = glob.escape(place.name).replace("%b", "*")
            if found := sorted(place.parent.glob(pattern)):
                return found
        elif place.is_file():
            return [place]
    return []
