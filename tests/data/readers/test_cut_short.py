"""Files that are cut short while they are read: an error, not zeros and not the end of the process."""

import subprocess
import sys

import h5py
import numpy as np
import pytest

from datk.base.errors import DataError
from datk.data.readers import banded
from datk.data.readers.arrays import StoredArray, open_array

X = np.arange(200 * 3 * 16 * 16, dtype=np.float32).reshape(200, 3, 16, 16) + 1
LATE = np.array([3, 150, 199])
LAYOUTS = {
    "plain": {},
    "rows": {"chunks": (1, 3, 16, 16)},
    "bands": {"chunks": (50, 1, 8, 8)},
    "gzip": {"chunks": (1, 3, 16, 16), "compression": "gzip"},
}


def write(folder, layout):
    """The key and the file with X."""
    if layout in ("C", "F"):
        np.save(folder / "x.npy", np.asarray(X, order=layout))
        return str(folder / "x.npy"), folder / "x.npy"
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("x", data=X, **LAYOUTS[layout])
    return "x", folder / "x.h5"


@pytest.mark.parametrize("share", [0.5, 0.0])
@pytest.mark.parametrize("layout", ["C", "F", *LAYOUTS])
def test_a_file_that_is_cut_short_is_told(tmp_path, monkeypatch, layout, share):
    monkeypatch.setattr(banded, "MOST_BYTES", X[:60].nbytes)
    key, path = write(tmp_path, layout)
    stored = open_array(str(path), key)
    np.testing.assert_array_equal(stored[:5], X[:5])
    with path.open("r+b") as file:
        file.truncate(int(share * path.stat().st_size))
    for rows in (LATE, slice(100, None), slice(None)):
        with pytest.raises(DataError, match=r"x\.\w+ cannot be read \(.*cut short after it was opened"):
            stored[rows]


def test_a_source_that_is_cut_short_is_told(tmp_path):
    _, path = write(tmp_path, "plain")
    layout = h5py.VirtualLayout(shape=X.shape, dtype=X.dtype)
    layout[:] = h5py.VirtualSource(path, "x", shape=X.shape)
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_virtual_dataset("x", layout)
    stored = open_array(str(tmp_path / "v.h5"), "x")
    np.testing.assert_array_equal(stored[LATE], X[LATE])
    with path.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(DataError, match=r"x\.h5, which it is made of, was cut short"):
        stored[LATE]
    path.unlink()
    with pytest.raises(DataError, match=r"x\.h5, which it is made of, is gone"):
        stored[LATE]


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_map_that_is_given_is_read_from_its_file(tmp_path, monkeypatch, order):
    monkeypatch.setattr(banded, "MOST_BYTES", X[:60].nbytes)
    key, path = write(tmp_path, order)
    stored = StoredArray(np.load(key, mmap_mode="r"), "x")
    assert not stored.in_memory
    np.testing.assert_array_equal(stored[LATE], X[LATE])
    part = StoredArray(np.load(key, mmap_mode="r")[5:], "x")  # a view is read as it is
    np.testing.assert_array_equal(part[LATE[:2]], X[LATE[:2] + 5])
    changed = np.load(key, mmap_mode="c")
    changed[3] = 0
    assert not StoredArray(changed, "x")[LATE][0].any()
    with path.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(DataError, match=r"cut short after it was opened"):
        stored[LATE]


PROGRAM = """
import sys
from datk.data.readers import StoredArray, open_array
from datk.base.errors import DataError
stored = open_array(sys.argv[1], sys.argv[2])
open(sys.argv[1], "r+b").truncate(4096)
try:
    stored[100:].sum()
except DataError:
    sys.exit(2)
"""


@pytest.mark.parametrize("layout", ["C", "plain"])
def test_no_signal_ends_the_process(tmp_path, layout):
    key, path = write(tmp_path, layout)
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(path), key], capture_output=True, check=False)
    assert done.returncode == 2, done.stderr
