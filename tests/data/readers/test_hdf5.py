"""Formats that are HDF5 under another name, and filters that may be missing."""

import importlib
import struct
import sys
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from datk.base.errors import DataError
from datk.data.readers.arrays import open_array
from datk.data.readers.hdf5 import check_filters

X = np.random.default_rng(0).integers(0, 99, (12, 6, 5)).astype(np.float64)
MATLAB = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  1 00:00:00 2024 HDF5 schema 1.00 ."


@pytest.mark.parametrize("ending", [".h5", ".hdf5", ".hdf", ".he5", ".nc", ".nc4", ".h5ad", ".HDF"])
def test_endings(tmp_path, ending):
    with h5py.File(tmp_path / f"a{ending}", "w") as file:
        file["g/x"] = X
    np.testing.assert_array_equal(open_array(str(tmp_path / f"a{ending}"), "g/x")[:], X)


# --- MATLAB ---------------------------------------------------------------------------------------------


def matlab(path, arrays, *, header=True, **options):
    """What MATLAB writes: axes in reverse, the class of each array, a header before the HDF5."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for key, array in arrays.items():
            stored = file.create_dataset(key, data=np.asarray(array).T, **options)
            stored.attrs["MATLAB_class"] = np.bytes_("double")
    if header:
        with path.open("r+b") as raw:
            raw.write(MATLAB.ljust(124) + struct.pack("<H", 0x0200) + b"IM")
    return str(path)


@pytest.mark.parametrize("options", [{}, {"chunks": True, "compression": "gzip"}])
@pytest.mark.parametrize("header", [True, False])
def test_matlab_arrays_are_read_as_they_were_saved(tmp_path, options, header):
    path = matlab(
        tmp_path / "a.mat", {"x": X, "y": X[:, 0, :1], "row": X[:, 0, :1].T}, header=header, **options
    )
    stored = open_array(path, "x")
    assert stored.shape == X.shape
    for rows in (slice(None), slice(3, 7), np.array([0, 5, 11])):
        np.testing.assert_array_equal(stored[rows], X[rows])
    (note,) = stored.notes
    assert "has MATLAB's order of axes, (12, 6, 5), in which it was saved" in note
    np.testing.assert_array_equal(stored.whole_rows()[np.array([1, 8])], X[[1, 8]])
    assert open_array(path, "y").values().shape == (12, 1)
    assert open_array(path, "row").values().shape == (1, 12)
    assert open_array(path, "y").notes == []


def test_matlab_texts(tmp_path):
    words = ["spiral", "Bär", "", "elliptical"]
    with h5py.File(tmp_path / "a.mat", "w") as file:
        texts = []
        for number, word in enumerate(words):
            codes = np.array([[ord(c)] for c in word] or [0, 0], "u2" if word else "u8")
            item = file.create_dataset(f"#refs#/{number}", data=codes)
            item.attrs["MATLAB_class"] = np.bytes_("char")
            if not word:
                item.attrs["MATLAB_empty"] = np.uint8(1)
            texts.append(item.ref)
        cells = file.create_dataset("cells", data=np.array([texts], dtype=h5py.ref_dtype))
        cells.attrs["MATLAB_class"] = np.bytes_("cell")
        padded = np.array([[ord(c) for c in word.ljust(10)] for word in words], "u2")
        chars = file.create_dataset("chars", data=padded.T)
        chars.attrs["MATLAB_class"] = np.bytes_("char")
        number = file.create_dataset("#refs#/n", data=np.ones((1, 1)))
        mixed = file.create_dataset("mixed", data=np.array([[number.ref]], dtype=h5py.ref_dtype))
        mixed.attrs["MATLAB_class"] = np.bytes_("cell")
        empty = file.create_dataset("empty", data=np.zeros(2, "u8"))
        empty.attrs["MATLAB_empty"] = np.uint8(1)
        pair = np.zeros((3, 2), [("real", "f8"), ("imag", "f8")])
        file["complex"] = pair
        group = file.create_group("sparse")
        group.attrs["MATLAB_sparse"] = np.uint64(3)
        group["data"] = np.ones(2)
    path = str(tmp_path / "a.mat")
    assert open_array(path, "cells").values().tolist() == words
    assert open_array(path, "chars").values().tolist() == words
    for key, message in (
        ("mixed", "cell array of more than texts"),
        ("empty", "'empty' in .* is empty"),
        ("complex", "complex numbers or a structure"),
        ("sparse", r"is a sparse matrix; save it dense, full\(x\)"),
    ):
        with pytest.raises(DataError, match=message):
            open_array(path, key)
    with pytest.raises(DataError, match=r"it holds: cells, chars, complex, empty, mixed, sparse/data$"):
        open_array(path, "zzz")


@pytest.mark.parametrize(
    ("beginning", "version"),
    [(b"MATLAB 5.0 MAT-file, Platform: GLNXA64", "version 5"), (b"\0\0\0\0\1\0\0\0", "an earlier version")],
)
def test_earlier_matlab_files_are_refused(tmp_path, beginning, version):
    (tmp_path / "a.mat").write_bytes(beginning.ljust(300, b"\0"))
    with pytest.raises(DataError, match=rf"is a MATLAB file of {version}.*save\('a\.mat', .*'-v7\.3'\)"):
        open_array(str(tmp_path / "a.mat"), "x")


def test_earlier_matlab_files_of_scipy(tmp_path):
    scipy = pytest.importorskip("scipy.io", reason="SciPy is not installed")
    scipy.savemat(tmp_path / "a.mat", {"x": X})
    with pytest.raises(DataError, match=r"of version 5, .*-v7\.3"):
        open_array(str(tmp_path / "a.mat"), "x")


# --- netCDF ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [b"CDF\x01", b"CDF\x02", b"CDF\x05"])
def test_classic_netcdf_is_refused(tmp_path, kind):
    (tmp_path / "a.nc").write_bytes(kind.ljust(300, b"\0"))
    with pytest.raises(DataError, match=r"a\.nc is netCDF-3 \(classic\).*nccopy -k nc4"):
        open_array(str(tmp_path / "a.nc"), "x")


def test_hdf4_is_refused(tmp_path):
    (tmp_path / "a.hdf").write_bytes(b"\x0e\x03\x13\x01".ljust(300, b"\0"))
    with pytest.raises(DataError, match=r"a\.hdf is HDF4, not HDF5"):
        open_array(str(tmp_path / "a.hdf"), "x")


def test_packed_values_are_those_that_are_meant(tmp_path):
    stored = np.array([[-999, 0, 20], [7, -1, 5]], dtype="i2")
    with h5py.File(tmp_path / "a.nc", "w") as file:
        packed = file.create_dataset("packed", data=stored)
        packed.attrs["scale_factor"], packed.attrs["add_offset"] = 0.5, [10.0]
        packed.attrs["_FillValue"] = np.array([-999], "i2")
        file.create_dataset("unsigned", data=stored.astype("i1")).attrs["_Unsigned"] = "true"
        nan = file.create_dataset("nan", data=stored.astype("f4"))
        nan.attrs["_FillValue"] = np.float32("nan")
    path = str(tmp_path / "a.nc")
    read = open_array(path, "packed")
    assert read.dtype == read[:].dtype == np.float32
    np.testing.assert_array_equal(read[:], [[np.nan, 10, 20], [13.5, 9.5, 12.5]])
    np.testing.assert_array_equal(read[np.array([1])], [[13.5, 9.5, 12.5]])
    assert "values are stored * 0.5 + 10" in read.notes[0]
    assert "-999 is read as NaN" in read.notes[0]
    np.testing.assert_array_equal(open_array(path, "unsigned")[:], stored.astype("i1").view("u1"))
    assert open_array(path, "nan").notes == []


def test_what_netcdf4_writes(tmp_path):
    netcdf = pytest.importorskip("netCDF4", reason="netCDF4 is not installed")
    with netcdf.Dataset(tmp_path / "a.nc", "w") as file:
        for name, size in zip("nyx", X.shape, strict=True):
            file.createDimension(name, size)
        plain = file.createVariable("plain", "f8", ("n", "y", "x"), zlib=True)
        plain[:] = X
        scaled = file.createVariable("scaled", "i2", ("n", "y", "x"), fill_value=-1)
        scaled.scale_factor = 0.5
        scaled[:] = np.ma.masked_equal(X, X[0, 0, 0])
        words = file.createVariable("words", str, ("n",))
        words[:] = np.array([f"class {k % 2}" for k in range(12)], dtype=object)
    path = str(tmp_path / "a.nc")
    np.testing.assert_array_equal(open_array(path, "plain")[:], X)
    np.testing.assert_array_equal(open_array(path, "scaled")[:], np.where(X[0, 0, 0] == X, np.nan, X))
    assert open_array(path, "words").values()[1] == "class 1"


# --- AnnData --------------------------------------------------------------------------------------------


def test_anndata(tmp_path):
    text = h5py.string_dtype()
    with h5py.File(tmp_path / "a.h5ad", "w") as file:
        file["X"] = X[:4, 0]
        kind = file.create_group("obs/kind")
        kind.attrs["encoding-type"] = "categorical"
        kind["codes"] = np.array([0, 1, -1, 1], "i1")
        kind.create_dataset("categories", data=["T", "B"], dtype=text)
        batch = file.create_group("obs/batch")
        batch.attrs["encoding-type"] = "categorical"
        batch["codes"], batch["categories"] = np.array([1, 0, 1, 1], "i1"), np.array([3, 7])
        flags = file.create_group("obs/flags")
        flags.attrs["encoding-type"] = "nullable-boolean"
        flags["values"], flags["mask"] = np.array([True, False, True, True]), np.array([0, 0, 1, 0], bool)
        old = file.create_dataset("obs/old", data=np.array([1, 0, 0, 1], "i1"))
        file.create_dataset("obs/__categories/old", data=["x", "y"], dtype=text)
        old.attrs["categories"] = file["obs/__categories/old"].ref
        for name in ("csr_matrix", "csc_matrix"):
            sparse = file.create_group(f"layers/{name}")
            sparse.attrs["encoding-type"] = name
            sparse["data"] = sparse["indices"] = sparse["indptr"] = np.arange(3)
    path = str(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(open_array(path, "X")[:], X[:4, 0])
    assert open_array(path, "obs/kind").values().tolist() == ["T", "B", "", "B"]
    assert open_array(path, "obs/batch").values().tolist() == [7, 3, 7, 7]
    assert open_array(path, "obs/old").values().tolist() == ["y", "x", "x", "y"]
    np.testing.assert_array_equal(open_array(path, "obs/flags").values(), [1, 0, np.nan, 1])
    for name in ("csr_matrix", "csc_matrix"):
        with pytest.raises(DataError, match=rf"is a sparse matrix \({name}\); save it dense"):
            open_array(path, f"layers/{name}")
    with pytest.raises(DataError, match=r"'obs' in .* is a group, not a dataset.*: batch, flags, kind, old"):
        open_array(path, "obs")
    with pytest.raises(DataError, match=r"did you mean 'obs/kind'\?"):
        open_array(path, "obs/kin")


def test_codes_without_a_category(tmp_path):
    with h5py.File(tmp_path / "a.h5ad", "w") as file:
        kind = file.create_group("kind")
        kind["codes"] = np.array([0, 5], "i1")
        kind.create_dataset("categories", data=["T", "B"], dtype=h5py.string_dtype())
    with pytest.raises(DataError, match=r"has codes beyond its 2 categories"):
        open_array(str(tmp_path / "a.h5ad"), "kind")


# --- filters --------------------------------------------------------------------------------------------


def filtered(*codes):
    """What is looked at of a dataset that was written with filters."""
    layout = SimpleNamespace(
        get_nfilters=lambda: len(codes), get_filter=lambda k: (codes[k], 0, (), b"told by the file")
    )
    return SimpleNamespace(id=SimpleNamespace(get_create_plist=lambda: layout))


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (32001, "Blosc"),
        (32008, "bitshuffle"),
        (32015, "Zstandard"),
        (32004, "LZ4"),
        (32099, "told by the file"),
    ],
)
def test_a_filter_that_is_missing_is_named(monkeypatch, code, name):
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda number: number != code)
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with pytest.raises(DataError) as caught:
        check_filters(filtered(1, code), "'x' in a.h5")
    assert str(caught.value) == (
        f"'x' in a.h5 is compressed with the filter {name} ({code}), which is not installed; "
        "pip install hdf5plugin"
    )


def test_a_filter_that_hdf5plugin_does_not_have_is_named(monkeypatch):
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: False)
    monkeypatch.setattr(importlib, "import_module", lambda name: None)
    with pytest.raises(
        DataError, match=r"filters SZ \(32017\), LZ4 \(32004\), .*hdf5plugin has, or with gzip"
    ):
        check_filters(filtered(32017, 32004), "x")


def test_a_dataset_with_a_missing_filter_is_not_opened(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=X, compression="lzf")
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: code != 32000)
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with pytest.raises(DataError, match=r"'x' in \S*a\.h5 is compressed with the filter lzf \(32000\)"):
        open_array(str(tmp_path / "a.h5"), "x")


def test_hdf5plugin_is_used_where_it_is_installed(monkeypatch):
    installed = []
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: bool(installed))
    monkeypatch.setattr(importlib, "import_module", installed.append)
    check_filters(filtered(32001), "x")
    assert installed == ["hdf5plugin"]


@pytest.mark.parametrize("name", ["Blosc", "Bitshuffle", "Zstd", "LZ4", "Blosc2"])
def test_what_hdf5plugin_writes_is_read(tmp_path, name):
    plugin = pytest.importorskip("hdf5plugin", reason="hdf5plugin is not installed")
    for chunks in ((1, 6, 5), (5, 2, 5)):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.create_dataset("x", data=X, chunks=chunks, **getattr(plugin, name)())
        stored = open_array(str(tmp_path / "a.h5"), "x")
        np.testing.assert_array_equal(stored[:], X)
        np.testing.assert_array_equal(stored.whole_rows()[np.array([2, 9])], X[[2, 9]])
        del stored
