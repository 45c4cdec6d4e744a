"""HDF5 files, and the formats that are HDF5 under another name: MATLAB 7.3, netCDF-4, AnnData."""

import difflib
import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from datk.base.errors import DataError
from datk.data.readers import matlab
from datk.data.readers.banded import BandedRows
from datk.data.readers.packed import Packed, packing
from datk.data.readers.placed import PlacedRows
from datk.data.readers.sources import check_sources, uncovered

FILTERS = {
    1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 307: "bzip2",
    32000: "lzf", 32001: "Blosc", 32004: "LZ4", 32008: "bitshuffle", 32013: "ZFP", 32015: "Zstandard",
    32017: "SZ", 32018: "FCIDECOMP", 32024: "SZ3", 32026: "Blosc2", 32028: "SPERR",
}  # fmt: skip
"""Names of filters by their registered numbers."""

OTHER_FORMATS = (
    (b"CDF\x01", "is netCDF-3 (classic), not netCDF-4; convert it with: nccopy -k nc4 OLD.nc NEW.nc"),
    (b"CDF\x02", "is netCDF-3 (classic), not netCDF-4; convert it with: nccopy -k nc4 OLD.nc NEW.nc"),
    (b"CDF\x05", "is netCDF-3 (classic), not netCDF-4; convert it with: nccopy -k nc4 OLD.nc NEW.nc"),
    (b"\x0e\x03\x13\x01", "is HDF4, not HDF5; convert it with: h4toh5 OLD.hdf NEW.h5"),
)
"""How files begin that end alike but are no HDF5."""


@dataclass(frozen=True)
class Found:
    """An array in a file, before any of it is read."""

    data: npt.NDArray[Any] | h5py.Dataset | PlacedRows | BandedRows
    rows_last: bool = False
    """Whether the order of the axes is to be reversed."""
    packed: Packed | None = None
    """How stored values become those that are meant."""
    notes: tuple[str, ...] = ()


def open_hdf5(path: Path, key: str, name: str) -> Found:
    """The array at a key. Raises `DataError` for what is not there, not whole, or not to be read as it is."""
    suffix = path.suffix.lower()
    with path.open("rb") as raw:
        beginning = raw.read(128)
    if suffix == ".mat":
        matlab.check_version(path, beginning)
    for start, what in OTHER_FORMATS:
        if beginning.startswith(start):
            raise DataError(f"{path} {what}")
    file = h5py.File(path, "r")
    if key not in file:
        _check_links(file, path, key, name)
        raise no_such_key(path, key, _datasets(file))
    try:
        item = file[key]
    except KeyError:
        _check_links(file, path, key, name)
        raise
    if not isinstance(item, h5py.Dataset):
        return Found(_of_group(item, name))
    if item.shape is None:
        raise DataError(f"{name} is empty")
    check_filters(item, name)
    check_sources(item, name)
    notes = [f"{name}: {missing}"] if (missing := uncovered(item)) else []
    if suffix == ".mat":
        data, rows_last = matlab.meant(item, name)
        if rows_last and 1 not in data.shape:
            notes.append(
                f"{name} has MATLAB's order of axes, {data.shape[::-1]}, in which it was saved, not that of "
                f"the file, {data.shape}"
            )
        return Found(data, rows_last, notes=tuple(notes))
    packed = packing(item) if suffix in (".nc", ".nc4") else None
    if packed is not None:
        notes.append(f"{name}: {packed}")
    if "categories" in item.attrs and isinstance(item.attrs["categories"], h5py.Reference):
        return Found(_categories(item[:], file[item.attrs["categories"]], name))
    return Found(item, packed=packed, notes=tuple(notes))


def no_such_key(path: Path, key: str, keys: Iterable[str]) -> DataError:
    """What to say of a key that is not there, with those that are."""
    keys = sorted(keys)
    close = difflib.get_close_matches(key, keys, n=1)
    listed = ", ".join(keys[:20]) + (", ..." if len(keys) > 20 else "")
    return DataError(
        f"{path} has no array {key!r}"
        + (f"; did you mean {close[0]!r}?" if close else "")
        + (f" It holds: {listed}" if close else f"; it holds: {listed or 'no array at all'}")
    )


def check_filters(dataset: h5py.Dataset, name: str) -> None:
    """See that the filters of a dataset can be undone; `hdf5plugin` is imported where it is installed.

    Raises `DataError` with the names of those that cannot.
    """
    layout = dataset.id.get_create_plist()
    filters = [layout.get_filter(k) for k in range(layout.get_nfilters())]
    missing = [code for code, *_ in filters if not h5py.h5z.filter_avail(code)]
    if not missing:
        return
    try:
        importlib.import_module("hdf5plugin")
    except ImportError:
        advice = "pip install hdf5plugin"
    else:
        advice = "write the file anew with a filter that hdf5plugin has, or with gzip"
        missing = [code for code in missing if not h5py.h5z.filter_avail(code)]
    if missing:
        told = {code: text.decode(errors="replace") for code, _, _, text in filters}
        names = ", ".join(f"{FILTERS.get(code) or told[code] or 'unknown'} ({code})" for code in missing)
        several = "filters" if len(missing) > 1 else "filter"
        raise DataError(f"{name} is compressed with the {several} {names}, which is not installed; {advice}")


def _datasets(file: h5py.File) -> list[str]:
    found: list[str] = []
    file.visititems(
        lambda at, item: (
            found.append(at)
            if isinstance(item, h5py.Dataset) or "categories" in item or "encoding-type" in item.attrs
            else None
        )
    )
    return [
        at for at in found if not at.startswith("#") and at.rpartition("/")[0] not in _columns(file, found)
    ]


def _columns(file: h5py.File, found: list[str]) -> set[str]:
    """Groups that are an array of their own, so that what they consist of needs not be told."""
    return {at for at in found if isinstance(file[at], h5py.Group) and "categories" in file[at]}


def _check_links(file: h5py.File, path: Path, key: str, name: str) -> None:
    """Raise `DataError` for a link on the way to the key that leads nowhere."""
    parts = [part for part in key.split("/") if part and "\0" not in part]
    for count in range(1, len(parts) + 1):
        at = "/".join(parts[:count])
        try:
            link = file.get(at, getlink=True)
        except (KeyError, ValueError):
            return
        if isinstance(link, h5py.ExternalLink):
            places = [path.parent / link.filename, Path(link.filename)]
            if not any(place.is_file() for place in places):
                raise DataError(
                    f"{name} cannot be read: {at!r} is a link into {link.filename}, and there is no such "
                    f"file; put it back, in {path.parent} if its path is relative"
                )
            if not _leads_somewhere(file, at):
                raise DataError(
                    f"{name} cannot be read: {at!r} is a link to {link.path!r} in {link.filename}, which has "
                    "nothing of that name, or is no HDF5 file"
                )
        elif isinstance(link, h5py.SoftLink) and not _leads_somewhere(file, at):
            raise DataError(f"{name} cannot be read: {at!r} is a link to {link.path!r}, which is not there")


def _leads_somewhere(file: h5py.File, at: str) -> bool:
    try:
        file[at]
    except (KeyError, OSError):
        return False
    return True


def _of_group(group: h5py.Group, name: str) -> npt.NDArray[Any]:
    """What AnnData keeps as a group: a column of categories, or one with missing values."""
    encoding = _text(group.attrs.get("encoding-type", ""))
    if "codes" in group and "categories" in group:
        return _categories(group["codes"][:], group["categories"], name)
    if encoding.startswith("nullable-"):
        values, mask = group["values"], group["mask"][:]
        if encoding == "nullable-string-array":
            return np.where(mask, "", np.asarray(values.asstr()[:], dtype=str))
        return np.where(mask, np.nan, values[:].astype(np.float64)) if mask.any() else np.asarray(values[:])
    sparse = encoding if encoding in ("csr_matrix", "csc_matrix") else ""
    if sparse or {"data", "indices", "indptr"} <= set(group):
        raise DataError(
            f"{name} is a sparse matrix ({sparse or 'csr or csc'}); save it dense, for instance adata.X = "
            "adata.X.toarray()"
        )
    if "MATLAB_sparse" in group.attrs:
        raise DataError(f"{name} is a sparse matrix; save it dense, full(x)")
    if "pandas_type" in group.attrs:
        raise DataError(f"{name} is a table of pandas; save its columns, for instance with numpy.savez")
    inside = ", ".join([at for at in sorted(group) if not at.startswith("__")][:10])
    raise DataError(
        f"{name} is a group, not a dataset; give the path of a dataset in it"
        + (f": {inside}" if inside else "")
    )


def _categories(codes: npt.NDArray[Any], categories: h5py.Dataset, name: str) -> npt.NDArray[Any]:
    """The category of each row; an empty string, or NaN, where there is none."""
    if not isinstance(categories, h5py.Dataset):
        raise DataError(f"{name} has no plain list of categories; save it as strings")
    if h5py.check_string_dtype(categories.dtype) is not None:
        names: npt.NDArray[Any] = np.asarray(categories.asstr()[:], dtype=str)
        missing: Any = ""
    else:
        names, missing = categories[:], np.nan
    if len(codes) and (codes.max() >= len(names) or codes.min() < -1):
        raise DataError(f"{name} has codes beyond its {len(names)} categories")
    if (codes < 0).any():
        names = np.append(names, missing)
    return np.asarray(names[codes])


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
