"""HDF5 reads as zeros what is missing of a dataset; here it is an error, or a note, that names it."""

import h5py
import numpy as np
import pytest

from datk.base.errors import DataError
from datk.data.readers.arrays import open_array

X = np.arange(60, dtype=np.float32).reshape(12, 5) + 1
SOME = np.array([0, 7, 11])


def virtual(folder, *, rows=(6, 6), name="part{}.h5", file="v.h5", key="x", shape=X.shape):
    """A virtual dataset of as many files as there are numbers of rows."""
    layout = h5py.VirtualLayout(shape=shape, dtype=X.dtype)
    start = 0
    for number, count in enumerate(rows):
        with h5py.File(folder / name.format(number), "w") as part:
            part[key] = X[start : start + count]
        layout[start : start + count] = h5py.VirtualSource(name.format(number), key, shape=(count, 5))
        start += count
    with h5py.File(folder / file, "w") as whole:
        whole.create_virtual_dataset("x", layout)
    return str(folder / file)


def test_a_virtual_dataset(tmp_path):
    stored = open_array(virtual(tmp_path), "x")
    np.testing.assert_array_equal(stored[:], X)
    np.testing.assert_array_equal(stored[SOME], X[SOME])
    assert stored.notes == []


def test_a_source_that_is_gone_is_named(tmp_path):
    file = virtual(tmp_path)
    (tmp_path / "part1.h5").unlink()
    with pytest.raises(
        DataError, match=r"'x' in \S*v\.h5 is a virtual dataset of 'x' in part1\.h5, and there is"
    ):
        open_array(file, "x")


def test_a_source_without_the_dataset_is_named(tmp_path):
    file = virtual(tmp_path)
    h5py.File(tmp_path / "part0.h5", "w").close()
    with pytest.raises(DataError, match=r"'x' in \S*part0\.h5, which has no such dataset"):
        open_array(file, "x")
    with h5py.File(tmp_path / "part0.h5", "w") as part:
        part["x"] = X[:3]
    with pytest.raises(DataError, match=r"part0\.h5, whose shape \(3, 5\) is too small"):
        open_array(file, "x")
    (tmp_path / "part0.h5").write_bytes(b"no HDF5")
    with pytest.raises(DataError, match=r"a virtual dataset of \S*part0\.h5, which cannot be read"):
        open_array(file, "x")


def test_a_source_of_a_source_that_is_gone_is_named(tmp_path):
    virtual(tmp_path, file="middle.h5")
    layout = h5py.VirtualLayout(shape=X.shape, dtype=X.dtype)
    layout[:] = h5py.VirtualSource("middle.h5", "x", shape=X.shape)
    with h5py.File(tmp_path / "outer.h5", "w") as whole:
        whole.create_virtual_dataset("x", layout)
    np.testing.assert_array_equal(open_array(str(tmp_path / "outer.h5"), "x")[:], X)
    (tmp_path / "part0.h5").unlink()
    with pytest.raises(DataError, match=r"in part0\.h5, and there is no such file"):
        open_array(str(tmp_path / "outer.h5"), "x")


def test_sources_may_be_in_the_same_file(tmp_path):
    layout = h5py.VirtualLayout(shape=X.shape, dtype=X.dtype)
    layout[:] = h5py.VirtualSource(".", "plain", shape=X.shape)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["plain"] = X
        file.create_virtual_dataset("x", layout)
    np.testing.assert_array_equal(open_array(str(tmp_path / "a.h5"), "x")[:], X)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["plain"]
    with pytest.raises(DataError, match=r"virtual dataset of 'plain' in \S*a\.h5, which has no such dataset"):
        open_array(str(tmp_path / "a.h5"), "x")


def test_external_storage_that_is_gone_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with h5py.File("a.h5", "w") as file:
        file.create_dataset("x", data=X, external=[("x.raw", 0, h5py.h5f.UNLIMITED)])
    np.testing.assert_array_equal(open_array("a.h5", "x")[:], X)
    raw = (tmp_path / "x.raw").read_bytes()
    (tmp_path / "x.raw").write_bytes(raw[:100])
    with pytest.raises(DataError, match=r"keeps its values in x\.raw, which is too short"):
        open_array("a.h5", "x")
    (tmp_path / "x.raw").unlink()
    with pytest.raises(DataError, match=r"keeps its values in x\.raw, and there is no such file"):
        open_array("a.h5", "x")


def test_links_that_lead_nowhere_are_named(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["g/x"] = X
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = h5py.ExternalLink("other.h5", "g/x")
        file["group"] = h5py.ExternalLink("other.h5", "g")
        file["wrong"] = h5py.ExternalLink("other.h5", "h/x")
        file["soft"] = h5py.SoftLink("/nowhere")
    path = str(tmp_path / "a.h5")
    for key in ("x", "group/x"):
        np.testing.assert_array_equal(open_array(path, key)[:], X)
    with pytest.raises(DataError, match=r"'wrong' is a link to 'h/x' in other\.h5, which has nothing"):
        open_array(path, "wrong")
    with pytest.raises(DataError, match=r"'soft' is a link to '/nowhere', which is not there"):
        open_array(path, "soft")
    (tmp_path / "other.h5").unlink()
    for key in ("x", "group/x"):
        with pytest.raises(DataError, match=r"is a link into other\.h5, and there is no such file"):
            open_array(path, key)


def test_what_was_never_written_is_told(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("half", (12, 5), "f4", chunks=(4, 5), fillvalue=7)[:4] = 1
        file.create_dataset("none", (12, 5), "f4")
        file.create_dataset("all", (12, 5), "f4", chunks=(4, 5))[:] = 1
    path = str(tmp_path / "a.h5")
    assert open_array(path, "all").notes == []
    (note,) = open_array(path, "half").notes
    assert "'half' in" in note
    assert "2 of 3 chunks were never written and read as 7" in note
    assert "nothing of it was ever written, and all reads as 0" in open_array(path, "none").notes[0]
    (note,) = open_array(virtual(tmp_path, shape=(14, 5)), "x").notes
    assert "10 of 70 values have no source and read as 0" in note
