"""Rows straight from an HDF5 file are those that HDF5 reads."""

import h5py
import numpy as np
import pytest

from datk.data.readers.arrays import open_array
from datk.data.readers.placed import placed_rows

ROWS = np.array([0, 3, 4, 5, 11, 16])


def stored(path, dtype="float32", **options):
    x = np.random.default_rng(0).integers(0, 100, (17, 2, 3, 4)).astype(dtype)
    with h5py.File(path, "w", **options.pop("file", {})) as file:
        file.create_dataset("before", data=np.arange(5))
        file.create_dataset("x", data=x, **options)
    return x


@pytest.mark.parametrize("dtype", ["float32", ">f8", "uint8", ">i2"])
@pytest.mark.parametrize("chunks", [None, (1, 2, 3, 4), (5, 2, 3, 4), (17, 2, 3, 4)])
def test_plain_rows_are_read_from_their_places(tmp_path, dtype, chunks):
    x = stored(tmp_path / "x.h5", dtype, chunks=chunks)
    with h5py.File(tmp_path / "x.h5") as file:
        placed = placed_rows(file["x"])
        assert placed is not None
        np.testing.assert_array_equal(placed[ROWS], x[ROWS])
        assert placed[ROWS].dtype == np.dtype(dtype)
        assert placed[ROWS[:0]].shape == (0, 2, 3, 4)


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (5, 2, 3, 4), "compression": "gzip"},
        {"chunks": (5, 2, 3, 4), "shuffle": True},
        {"chunks": (5, 1, 3, 4)},
        {"dtype": "bool"},
        {"file": {"userblock_size": 512}},
    ],
)
def test_what_is_not_stored_plainly_is_left_to_hdf5(tmp_path, options):
    x = stored(tmp_path / "x.h5", **options)
    with h5py.File(tmp_path / "x.h5") as file:
        assert placed_rows(file["x"]) is None
    array = open_array(str(tmp_path / "x.h5"), "x")
    np.testing.assert_array_equal(array[ROWS], x[ROWS])


def test_numbers_that_hdf5_converts_are_left_to_it(tmp_path):
    """A float of 16 bits with the exponent of one of 32, and an integer of 12 bits among 16."""
    half = h5py.h5t.IEEE_F32LE.copy()
    half.set_fields(15, 7, 8, 0, 7), half.set_size(2), half.set_ebias(127)
    shifted = h5py.h5t.STD_U16LE.copy()
    shifted.set_precision(12), shifted.set_offset(4)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name, kind, dtype in ((b"half", half, "float32"), (b"shifted", shifted, "uint16")):
            values = np.arange(68, dtype=dtype).reshape(17, 4)
            place = h5py.h5d.create(file.id, name, kind, h5py.h5s.create_simple(values.shape))
            place.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
    for name in ("half", "shifted"):
        array = open_array(str(tmp_path / "x.h5"), name)
        np.testing.assert_array_equal(array[ROWS], np.arange(68).reshape(17, 4)[ROWS])


def test_the_file_is_the_one_that_was_opened(tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    x, _ = stored(tmp_path / "x.h5"), stored(tmp_path / "other" / "x.h5", "float64")
    array = open_array("x.h5", "x")
    monkeypatch.chdir(tmp_path / "other")
    (tmp_path / "other" / "x.h5").replace(tmp_path / "x.h5")
    np.testing.assert_array_equal(array[ROWS], x[ROWS])


def test_chunks_that_were_never_written_are_left_to_hdf5(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", (17, 3), "float32", chunks=(4, 3))[8:12] = 1
        file.create_dataset("empty", (17, 3), "float32")
    for name, total in (("x", 3.0), ("empty", 0.0)):
        with h5py.File(tmp_path / "x.h5") as file:
            assert placed_rows(file[name]) is None
        assert open_array(str(tmp_path / "x.h5"), name)[ROWS].sum() == total
