"""Published arrays on their way into one HDF5 file."""

import dataclasses
import tracemalloc

import h5py
import numpy as np
import pytest

from datk.base.errors import DataError
from datk.data.published.convert import convert, open_arrays
from datk.data.published.progress import Progress
from datk.data.published.records import Record, RecordFile
from tests.data.published.record_server import FILES, ROWS, arrays, record_for, write


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "published", arrays())


def record_as_it_is(folder):
    """A record of whatever lies in the folder."""
    files = {key: RecordFile(name, (folder / name).stat().st_size) for key, name in FILES.items()}
    return Record("tiny-sky", "tiny", "a tiny sky", "https://archive.test/1", "Nobody (2020)", files)


def converted(folder, record=None, compare=False, progress=None):
    """The datasets' descriptions, and the HDF5 file's content."""
    path = folder / "data.h5"
    arrays_ = open_arrays(record or record_as_it_is(folder), folder)
    datasets = convert(arrays_, path, compare, progress or Progress())
    with h5py.File(path) as file:
        return datasets, {key: file[key][:] for key in datasets}


def images(value=None, rows=ROWS):
    array = arrays()["source/x"][:rows]
    if value is not None:
        array[3, 1, 4, 4] = value
    return array


def labels(value):
    array = arrays()["source/y"]
    array[5] = value
    return array


def test_images_become_float32_and_labels_int64(folder):
    datasets, content = converted(folder)
    assert list(datasets) == list(FILES)
    for key, array in arrays().items():
        assert content[key].dtype == (np.float32 if key.endswith("x") else np.int64)
        np.testing.assert_array_equal(content[key], array.astype(content[key].dtype))
        assert datasets[key]["shape"] == list(array.shape)
        assert datasets[key]["dtype"] == str(content[key].dtype)
        if key.endswith("x"):
            assert datasets[key]["mean"] == pytest.approx(array.mean((0, 2, 3)))
            assert datasets[key]["std"] == pytest.approx(array.std((0, 2, 3)))


def test_pieces_cover_every_row(folder, monkeypatch):
    """Pieces of three rows in chunks of one, the last piece shorter."""
    row = images()[0].size * 4
    monkeypatch.setattr("datk.data.published.convert.PIECE", 3 * row)
    monkeypatch.setattr("datk.data.published.convert.CHUNK", row)

    class Counted(Progress):
        steps = ()

        def begin(self, what, total, done=0):
            self.total = total

        def advance(self, size):
            self.steps += (size,)

    progress = Counted()
    datasets, content = converted(folder, progress=progress)
    np.testing.assert_array_equal(content["source/x"], images().astype(np.float32))
    assert datasets["source/x"]["mean"] == pytest.approx(images().mean((0, 2, 3)))
    assert progress.steps[:7] == (3 * row,) * 6 + (2 * row,)
    assert sum(progress.steps) == progress.total


@pytest.mark.parametrize("dtype", ["float32", "int16", ">f8", "uint8"])
def test_other_types_of_numbers(folder, dtype):
    values = np.round(np.abs(images())).astype(dtype)
    write(folder, {"source/x": values, "target/y": labels(1).astype(dtype)})
    _, content = converted(folder)
    np.testing.assert_array_equal(content["source/x"], values)
    np.testing.assert_array_equal(content["target/y"], labels(1))


def test_the_file_is_no_larger_than_it_has_to_be(folder):
    """What was claimed of the disk in advance is given back."""
    converted(folder)
    with h5py.File(folder / "again.h5", "w") as file:
        for key, array in arrays().items():
            file.create_dataset(
                key, data=array, dtype="f4" if key.endswith("x") else "i8", chunks=array.shape
            )
    assert (folder / "data.h5").stat().st_size < (folder / "again.h5").stat().st_size + 10_000


@pytest.mark.parametrize("damaged", [b"", b"not an array", b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_no_array(folder, damaged):
    (folder / "SX.npy").write_bytes(damaged)
    with pytest.raises(DataError, match=r"SX\.npy cannot be read"):
        open_arrays(record_as_it_is(folder), folder)


def test_a_truncated_array(folder):
    path = folder / "SX.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match=r"SX\.npy cannot be read"):
        open_arrays(record_as_it_is(folder), folder)


def test_a_pickled_array(folder):
    np.save(folder / "sy.npy", np.array([{}] * ROWS), allow_pickle=True)
    with pytest.raises(DataError, match=r"sy\.npy cannot be read.*Python objects"):
        open_arrays(record_as_it_is(folder), folder)


@pytest.mark.parametrize(
    ("key", "array", "parts"),
    [
        ("source/x", images(np.nan), ["SX.npy", "nan in row 3, channel 1"]),
        ("target/x", images(-np.inf), ["TX.npy", "-inf in row 3"]),
        ("source/x", images(1e300), ["1e+300 in row 3", "no finite float32"]),
        ("source/x", images(rows=ROWS - 1), ["sy.npy has 20 rows", "SX.npy 19"]),
        ("source/x", images()[0], ["SX.npy holds float64 of shape [3, 8, 8], not images [N, C, H, W]"]),
        ("source/x", images(rows=0), ["shape [0, 3, 8, 8]"]),
        ("source/x", images() + 1j, ["SX.npy holds complex128"]),
        ("target/y", labels(0.5), ["ty.npy has the label 0.5 in row 5"]),
        ("target/y", labels(-1), ["the label -1.0 in row 5"]),
        ("target/y", labels(np.nan), ["the label nan in row 5"]),
        ("target/y", labels(1e30), ["the label 1e+30 in row 5"]),
        ("source/y", labels(1)[:, None], ["sy.npy holds float64 of shape [20, 1], not labels [N]"]),
    ],
)
def test_content_that_cannot_be_used(folder, key, array, parts):
    write(folder, {key: array})
    with pytest.raises(DataError) as error:
        converted(folder)
    for part in parts:
        assert part in str(error.value)


def test_the_row_of_a_fault_counts_over_all_pieces(folder, monkeypatch):
    monkeypatch.setattr("datk.data.published.convert.PIECE", 1)
    monkeypatch.setattr("datk.data.published.convert.CHUNK", 1)
    write(folder, {"source/x": images(np.nan)})
    with pytest.raises(DataError, match="nan in row 3, channel 1"):
        converted(folder)


@pytest.mark.parametrize(("moment", "name"), [("mean", "mean"), ("std", "standard deviation")])
def test_other_moments_than_published(folder, moment, name):
    record = record_for(folder, arrays())
    file = record.files["target/x"]
    values = list(getattr(file, moment))

    def shifted(by):
        moved = dataclasses.replace(file, **{moment: (*values[:2], values[2] + by)})
        return dataclasses.replace(record, files={**record.files, "target/x": moved})

    with pytest.raises(DataError) as error:
        converted(folder, shifted(0.02), compare=True)
    assert f"TX.npy: the {name} of channel 2 is {values[2]:.6g}" in str(error.value)
    assert f"{values[2] + 0.02:.6g}" in str(error.value)
    converted(folder, shifted(0.005), compare=True)
    converted(folder, shifted(0.02), compare=False)


def test_memory_stays_far_below_the_size_of_a_file(folder):
    rows = 460
    big = np.lib.format.open_memmap(folder / "SX.npy", "w+", np.float64, (rows, 3, 74, 74))
    big[::7] = 1.0
    big.flush()
    np.save(folder / "sy.npy", np.zeros(rows))
    arrays_ = open_arrays(record_as_it_is(folder), folder)
    tracemalloc.start()
    try:
        convert(arrays_, folder / "data.h5", False, Progress())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (folder / "SX.npy").stat().st_size > 60e6
    assert peak < 25e6
    with h5py.File(folder / "data.h5") as file:
        assert file["source/x"].chunks == (3, 3, 74, 74)
        np.testing.assert_array_equal(file["source/x"][:, 0, 0, 0], big[:, 0, 0, 0])
