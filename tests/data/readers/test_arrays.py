import gc
import hashlib
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from datk.base.errors import DataError
from datk.data.readers.arrays import open_array

X = np.arange(20 * 3 * 4 * 5, dtype=np.float32).reshape(20, 3, 4, 5)


def save(folder: Path, ending: str, **arrays: np.ndarray) -> tuple[str, list[str]]:
    """The file (the last one for .npy) and the key of each array in it."""
    path = folder / f"data{ending}"
    if ending == ".npz":
        np.savez_compressed(path, **arrays)
    elif ending == ".npy":
        paths = [folder / f"{key}.npy" for key in arrays]
        for each, array in zip(paths, arrays.values(), strict=True):
            np.save(each, array)
        return str(paths[-1]), [str(each) for each in paths]
    else:
        with h5py.File(path, "w") as file:
            for key, array in arrays.items():
                file[key] = array
    return str(path), list(arrays)


@pytest.mark.parametrize("ending", [".npz", ".npy", ".h5", ".hdf5"])
@pytest.mark.parametrize("dtype", ["u1", "i2", ">i4", "u8", "f2", "<f4", ">f4", "f8", "?"])
def test_rows_come_back_in_native_byte_order(tmp_path, ending, dtype):
    x = X.astype(dtype)
    file, (key,) = save(tmp_path, ending, x=x)
    stored = open_array(file, key)
    gc.collect()
    assert stored.shape == x.shape
    assert stored.dtype == x.dtype.newbyteorder("=")
    assert stored.in_memory == (ending == ".npz")
    rows = [np.array([0, 1, 2, 7, 9, 10, 19]), np.array([], dtype=np.int64), np.arange(3, 9), np.array([19])]
    for index in [slice(None), slice(4, 11), slice(30, 40), *rows]:
        read = stored[index]
        assert type(read) is np.ndarray
        assert read.dtype == stored.dtype
        np.testing.assert_array_equal(read, x[index])


@pytest.mark.parametrize("ending", [".npz", ".npy", ".h5"])
def test_bytes_become_strings(tmp_path, ending):
    words = ["spiral", "", "Bärenhüter"]
    file, (key,) = save(tmp_path, ending, x=np.array([word.encode() for word in words]))
    assert open_array(file, key).values().tolist() == words


def test_hdf5_strings_of_any_length(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("g/x", data=["spiral", "Bärenhüter"], dtype=h5py.string_dtype())
    values = open_array(str(tmp_path / "a.h5"), "g/x").values()
    assert values.dtype.kind == "U"
    assert values.tolist() == ["spiral", "Bärenhüter"]


def test_paths_may_be_relative_or_start_at_home(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", X)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for path in ("x.npy", "~/x.npy"):
        assert open_array(path, path).shape == X.shape


@pytest.mark.parametrize("ending", [".npz", ".npy", ".h5"])
def test_files_stay_as_they_are(tmp_path, ending):
    file, (key,) = save(tmp_path, ending, x=X)
    before = hashlib.sha256(Path(file).read_bytes()).digest(), Path(file).stat().st_mtime_ns
    stored = open_array(file, key)
    for rows in (slice(None), np.array([1, 5])):
        read = stored[rows]
        if read.flags.writeable:
            read *= 2
    del stored, read
    gc.collect()
    assert (hashlib.sha256(Path(file).read_bytes()).digest(), Path(file).stat().st_mtime_ns) == before


@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_are_the_readers_own(tmp_path, order):
    """A file that was mapped would end the process where it is cut short; see also test_cut_short."""
    np.save(tmp_path / "x.npy", np.asarray(X, order=order))
    stored = open_array(str(tmp_path / "x.npy"), str(tmp_path / "x.npy"))
    stored[:][0] = 1
    np.testing.assert_array_equal(stored[:], X)


class Pickled:
    """Writes a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("ending", [".npz", ".npy"])
def test_pickles_are_never_loaded(tmp_path, ending):
    trace = tmp_path / "trace"
    file, (key,) = save(tmp_path, ending, x=np.array([Pickled(trace), None], dtype=object))
    with pytest.raises(DataError, match="Python objects"):
        open_array(file, key)
    assert not trace.exists()


def test_bare_pickle_is_never_loaded(tmp_path):
    trace = tmp_path / "trace"
    for ending in (".npz", ".npy"):
        path = tmp_path / f"x{ending}"
        path.write_bytes(pickle.dumps(Pickled(trace)))
        with pytest.raises(DataError, match="cannot be read"):
            open_array(str(path), str(path) if ending == ".npy" else "x")
    assert not trace.exists()


def test_damage_found_late_is_a_data_error(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        noise = np.random.default_rng(0).normal(size=(64, 8))
        chunk = file.create_dataset("x", data=noise, chunks=(32, 8), compression="gzip").id.get_chunk_info(1)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\xff" * chunk.size
    path.write_bytes(data)
    stored = open_array(str(path), "x")
    np.testing.assert_array_equal(stored[:32], noise[:32])
    with pytest.raises(DataError, match=r"'x' in .*a\.h5 cannot be read"):
        stored[:]
    with pytest.raises(DataError, match=r"'x' in .*a\.h5 cannot be read"):
        stored[np.array([1, 40])]


@pytest.fixture(scope="module")
def bad(tmp_path_factory) -> Path:
    """A folder of files that cannot be used."""
    folder = tmp_path_factory.mktemp("bad")
    np.savez(folder / "good.npz", x_source=X, y_source=X[:, 0, 0, 0])
    np.savez(folder / "none.npz")
    np.savez(folder / "many.npz", **{f"array{k:02}": X[:1] for k in range(30)})
    np.save(folder / "good.npy", X)
    with h5py.File(folder / "good.h5", "w") as file:
        file["images/x"] = X
        file["null"] = h5py.Empty("f4")
        file["gone"] = h5py.SoftLink("/nowhere")
    for name in ("good.npz", "good.npy", "good.h5"):
        whole = (folder / name).read_bytes()
        (folder / f"half{Path(name).suffix}").write_bytes(whole[: len(whole) // 2])
        (folder / f"zero{Path(name).suffix}").write_bytes(b"")
    (folder / "turned.npz").write_bytes((folder / "good.npy").read_bytes())
    (folder / "turned.npy").write_bytes((folder / "good.npz").read_bytes())
    (folder / "turned.h5").write_bytes((folder / "good.npz").read_bytes())
    flipped = bytearray((folder / "good.npz").read_bytes())
    flipped[300] ^= 255
    (folder / "flipped.npz").write_bytes(flipped)
    (folder / "data.csv").write_text("1,2\n")
    (folder / "folder.npz").mkdir()
    return folder


@pytest.mark.parametrize(
    ("file", "key", "message"),
    [
        ("no.npz", "x", r"there is no file \S*no.npz"),
        ("good.npz/a.npz", "x", "there is no file"),
        ("folder.npz", "x", "is a directory"),
        ("data.csv", "x", r"ends in '.csv'; give a file that ends in .npz, .npy, .h5, .hdf5"),
        ("~no-such-user/a.npz", "x", "cannot be read"),
        ("nul\0.npz", "x", "no file|cannot be read"),
        (f"{'long' * 999}.npz", "x", "cannot be read"),
        (
            "good.npz",
            "x_sorce",
            r"no array 'x_sorce'; did you mean 'x_source'\? It holds: x_source, y_source",
        ),
        ("good.npz", "zzz", r"no array 'zzz'; it holds: x_source, y_source"),
        ("many.npz", "zzz", r"array19, \.\.\.$"),
        ("none.npz", "x", "it holds: no array at all"),
        ("half.npz", "x_source", r"'x_source' in \S*half.npz cannot be read"),
        ("zero.npz", "x_source", "cannot be read"),
        ("flipped.npz", "x_source", r"cannot be read \(Bad CRC"),
        ("turned.npz", "x", "rename it to end in .npy"),
        ("good.npy", "x", "without a key; give its path in place of 'x'"),
        ("half.npy", None, "half.npy cannot be read"),
        ("zero.npy", None, "cannot be read"),
        ("turned.npy", None, "rename it to end in .npz"),
        ("good.h5", "images", "'images' in .* is a group, not a dataset"),
        ("good.h5", "images/y", r"did you mean 'images/x'\? It holds: images/x, null"),
        ("good.h5", "/", "is a group"),
        ("good.h5", "a\0b", "has no array"),
        ("good.h5", "gone", "'gone' in .* cannot be read"),
        ("good.h5", "null", "is empty"),
        ("half.h5", "images/x", r"'images/x' in \S*half.h5 cannot be read"),
        ("zero.h5", "images/x", "cannot be read"),
        ("turned.h5", "images/x", "cannot be read"),
    ],
)
def test_bad_files_are_told_in_one_line(bad, file, key, message):
    path = file if file.startswith("~") else str(bad / file)
    with pytest.raises(DataError, match=message) as caught:
        open_array(path, path if key is None else key)
    assert "\n" not in str(caught.value)


def test_missing_relative_file_names_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"there is no file a\.npz in \S*{tmp_path.name}"):
        open_array("a.npz", "x")


def test_npz_member_that_is_no_array(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", b"not an array")
        archive.writestr("readme.txt", "hello")
    for key in ("x", "readme.txt"):
        with pytest.raises(DataError):
            open_array(str(tmp_path / "a.npz"), key)


def test_undecodable_bytes(tmp_path):
    file, (key,) = save(tmp_path, ".npz", x=np.array([b"\xff\xfe"]))
    with pytest.raises(DataError, match="utf-8"):
        open_array(file, key).values()
