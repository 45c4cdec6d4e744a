"""Arrays of objects are read without anything in them being run."""

import contextlib
import pickle

import numpy as np
import pytest

from datk.base.errors import DataError
from datk.data.readers.arrays import open_array


def saved(folder, array, ending):
    if ending == ".npy":
        np.save(folder / "y.npy", array, allow_pickle=True)
        return open_array(str(folder / "y.npy"), str(folder / "y.npy"))
    np.savez_compressed(folder / "a.npz", y=array)
    return open_array(str(folder / "a.npz"), "y")


def header(file, count):
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (count,)})


@pytest.mark.parametrize("ending", [".npy", ".npz"])
@pytest.mark.parametrize(
    "values",
    [
        ["a", "Bärenhüter", "a", "", "x" * 300],
        [b"a", b"\xff"],
        [1, -1, 255, 65536, 2**40, 10**30, True, False, None, 2.5],
        [np.float64(1.5), np.int64(3), np.str_("b"), np.bool_(True), np.float32(0.5)],
        ["a", None, float("nan")],
    ],
    ids=str,
)
def test_strings_and_numbers_come_back(tmp_path, ending, values):
    array = np.empty(len(values), object)
    array[:] = values
    found = saved(tmp_path, array, ending).values()
    assert found.dtype == object
    assert found.shape == array.shape
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    assert list(map(repr, found)) == list(map(repr, plain))


@pytest.mark.parametrize("order", ["C", "F"])
def test_any_shape(tmp_path, order):
    array = np.array([["a", "b", "c"], ["d", "e", "f"]], dtype=object, order=order)
    assert saved(tmp_path, array, ".npy").values().tolist() == array.tolist()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_any_protocol(tmp_path, protocol):
    array = np.array(["a", "b", None, 1.5, 3, b"c"], dtype=object)
    with (tmp_path / "y.npy").open("wb") as file:
        header(file, 6)
        pickle.dump(array, file, protocol=protocol)
    found = open_array(str(tmp_path / "y.npy"), str(tmp_path / "y.npy")).values()
    assert found.tolist() == array.tolist()


def test_missing_values_of_pandas(tmp_path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    array = np.array(["a", pandas.NA, pandas.NaT], dtype=object)
    assert saved(tmp_path, array, ".npy").values().tolist() == ["a", None, None]


class Runs:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize(
    "values",
    [[Runs(), "a"], [["a"], "b"], [{"a": 1}, "b"], [np.arange(3), "b"], [1j, 2], [print, "a"], [{1, 2}, 3]],
)
def test_nothing_else_does(tmp_path, capsys, values):
    array = np.empty(2, object)
    array[:] = values
    with pytest.raises(DataError, match="holds Python objects other than strings and numbers") as caught:
        saved(tmp_path, array, ".npy")
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_a_pickle_of_something_else(tmp_path):
    for value in (Runs(), ["a", "b"], "a", np.arange(3), {"a": 1}):
        with (tmp_path / "y.npy").open("wb") as file:
            header(file, 2)
            pickle.dump(value, file)
        with pytest.raises(DataError, match="Python objects"):
            open_array(str(tmp_path / "y.npy"), str(tmp_path / "y.npy"))


def test_damage(tmp_path):
    saved(tmp_path, np.array(["a", "b", 1.5, None] * 20, dtype=object), ".npy")
    whole = (tmp_path / "y.npy").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        data = bytearray(whole)
        for at in rng.integers(128, len(whole), 3):
            data[at] = rng.integers(256)
        (tmp_path / "y.npy").write_bytes(data[: rng.integers(100, len(whole) + 1)])
        with contextlib.suppress(DataError):
            open_array(str(tmp_path / "y.npy"), str(tmp_path / "y.npy")).values()
