"""Rows that share chunks: read in bands, copied for random access, always the same values."""

import h5py
import numpy as np
import pytest

from datk.base.errors import DataError
from datk.data.readers import banded, copied
from datk.data.readers.arrays import as_stored, open_array
from datk.data.readers.placed import PlacedRows

X = np.random.default_rng(0).integers(0, 255, (37, 3, 5, 4)).astype(np.float32)
INDEX = [
    np.array([0, 1, 2, 7, 9, 10, 36]),
    np.array([], dtype=np.int64),
    np.arange(3, 30),
    np.array([36]),
    np.arange(0, 37, 6),
]
CHUNKS = [(8, 1, 2, 3), (37, 1, 1, 1), (5, 3, 5, 4), (1, 1, 1, 1), (40, 3, 5, 4)]


def write(folder, chunks, compression="gzip"):
    (folder / "x.h5").unlink(missing_ok=True)
    with h5py.File(folder / "x.h5", "w") as file:
        kept = tuple(np.minimum(chunks, X.shape).tolist())
        file.create_dataset("x", data=X, chunks=kept, compression=compression)
    return open_array(str(folder / "x.h5"), "x")


def check(stored):
    assert stored.shape == X.shape
    for rows in [slice(None), slice(4, 11), slice(30, 60), slice(9, 3), *INDEX]:
        np.testing.assert_array_equal(stored[rows], X[rows])


@pytest.mark.parametrize("bytes_of_a_band", [1, 2000, 2**24])
@pytest.mark.parametrize("chunks", CHUNKS)
def test_any_chunks_give_the_same_rows(tmp_path, monkeypatch, chunks, bytes_of_a_band):
    monkeypatch.setattr(banded, "WANTED_BYTES", bytes_of_a_band)
    stored = write(tmp_path, chunks)
    check(stored)
    check(stored.whole_rows())
    if chunks[0] > 1:
        assert isinstance(stored._rows, PlacedRows)
        (note,) = stored.notes
        assert "they were copied once (8.9 kB in" in note


def test_fortran_order(tmp_path, monkeypatch):
    monkeypatch.setattr(banded, "MOST_BYTES", 5000)
    np.save(tmp_path / "x.npy", np.asfortranarray(X))
    stored = open_array(str(tmp_path / "x.npy"), str(tmp_path / "x.npy"))
    assert not stored.in_memory
    check(stored)
    check(stored.whole_rows())
    assert len(stored.notes) == 1


def test_each_band_is_read_once_in_a_pass(tmp_path, monkeypatch):
    monkeypatch.setattr(banded, "WANTED_BYTES", X[:8].nbytes)
    stored = write(tmp_path, (8, 1, 5, 4))
    reads = []
    read = stored._rows.read
    monkeypatch.setattr(stored._rows, "read", lambda *rows: reads.append(rows) or read(*rows))
    for start in range(0, 37, 3):
        stored[start : start + 3]
    expected = [(0, 8), (8, 16), (16, 24), (24, 32), (32, 37)]
    assert reads == expected
    for rows in np.array_split(np.arange(0, 37, 2), 7):
        stored[rows]
    assert reads == expected * 2


def test_bands_beyond_memory_are_copied_chunk_by_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr(banded, "MOST_BYTES", X[:10].nbytes)
    stored = write(tmp_path, (20, 1, 2, 3))
    np.testing.assert_array_equal(stored[5:7], X[5:7])  # already a sequential reader needs it
    assert isinstance(stored._rows, PlacedRows)
    check(stored)


@pytest.mark.parametrize("fits", [True, False])
def test_without_room_rows_are_read_where_they_are(tmp_path, monkeypatch, fits):
    monkeypatch.setattr(copied, "SHARE", 0.0)
    if not fits:
        monkeypatch.setattr(banded, "MOST_BYTES", X[:10].nbytes)
    stored = write(tmp_path, (20, 1, 2, 3))
    check(stored.whole_rows())
    check(stored)
    (note,) = stored.notes
    assert "so that reading is slow: a copy takes 8.9 kB, and" in note
    assert "make room, or write the array anew with chunks of one row" in note


def test_a_disk_that_is_full_is_no_reason_to_stop(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(copied.os, "posix_fallocate", full)
    stored = write(tmp_path, (20, 1, 2, 3)).whole_rows()
    check(stored)
    assert "No space left on device" in stored.notes[0]


def test_the_copy_has_no_name_and_goes_with_its_reader(tmp_path, monkeypatch):
    monkeypatch.setenv("DATK_DATA_DIR", str(tmp_path / "data"))
    stored = write(tmp_path, (20, 1, 2, 3)).whole_rows()
    assert str(tmp_path / "data") in stored.notes[0]
    assert list((tmp_path / "data").iterdir()) == []
    check(stored)


def test_damage_while_copying_is_told(tmp_path):
    write(tmp_path, (20, 3, 5, 4))
    with h5py.File(tmp_path / "x.h5") as file:
        chunk = file["x"].id.get_chunk_info(1)
    data = bytearray((tmp_path / "x.h5").read_bytes())
    data[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\xff" * chunk.size
    (tmp_path / "x.h5").write_bytes(data)
    with pytest.raises(DataError, match=r"'x' in \S*x\.h5 cannot be read"):
        open_array(str(tmp_path / "x.h5"), "x").whole_rows()


def test_rows_that_are_whole_are_not_copied(tmp_path):
    for chunks, compression in (((1, 3, 5, 4), "gzip"), ((5, 3, 5, 4), None)):
        stored = write(tmp_path, chunks, compression)
        assert stored.whole_rows().notes == []
        check(stored)


def test_arrays_that_others_opened_are_read_alike(tmp_path):
    plain = np.zeros((3, 2))
    assert as_stored(plain, "x") is plain
    write(tmp_path, (20, 1, 2, 3))
    with h5py.File(tmp_path / "x.h5") as file:
        stored = as_stored(file["x"], "samples")
        check(stored)
        check(stored.whole_rows())
        assert "rows of samples lie in pieces" in stored.notes[0]
    np.save(tmp_path / "x.npy", X)
    check(as_stored(np.load(tmp_path / "x.npy", mmap_mode="r"), "samples"))
