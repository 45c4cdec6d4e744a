import functools
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datk.base.errors import ConfigError, DataError, DatkError
from datk_arrays.pair import Arrays, ArraysConfig

RNG = np.random.default_rng(0)
DATA: dict[str, np.ndarray] = {
    "xs": RNG.integers(0, 256, (6, 8, 9, 3), dtype=np.uint8),
    "ys": np.array([3, 8, 3, 8, 3, 8]),
    "xt": RNG.integers(0, 256, (4, 8, 9, 3), dtype=np.uint8),
    "yt": np.array([8, 3, 3, 8]),
    "gs": np.array(["a", "b", "c", "a", "b", "c"]),
    "gt": np.array(["b", "d", "d", "c"]),
    "ts": np.array([0, 0, 0, 0, 0, 1], dtype=np.uint8),
    "tt": np.array([True, False, False, True]),
}
KEYS = {"source_x": "xs", "source_y": "ys", "target_x": "xt", "target_y": "yt"}
OPTIONAL = {"source_group": "gs", "target_group": "gt", "source_test": "ts", "target_test": "tt"}


def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
        return
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key] = array.astype("S") if array.dtype.kind == "U" else array


def load(folder: Path, ending: str, arrays: dict[str, np.ndarray], **options: Any) -> Arrays:
    """The pair read from files just written; options name the arrays by their keys."""
    if ending == ".npy":
        for key, array in arrays.items():
            np.save(folder / f"{key}.npy", array)
        roles = {*KEYS, *OPTIONAL}
        options = {k: str(folder / f"{v}.npy") if k in roles else v for k, v in options.items()}
        return Arrays(ArraysConfig(**options))
    path = folder / f"data{ending}"
    write(path, arrays)
    return Arrays(ArraysConfig(source=str(path), target=str(path), **options))


@pytest.mark.parametrize("ending", [".npz", ".npy", ".h5"])
def test_everything_that_a_file_can_give(tmp_path, ending):
    pair = load(tmp_path, ending, DATA, **KEYS, **OPTIONAL, shared_groups=True, classes=("no", "yes"))
    assert pair.classes == ("no", "yes")
    assert pair.shared_groups
    for samples, x in ((pair.source, DATA["xs"]), (pair.target, DATA["xt"])):
        assert samples.in_memory == (ending == ".npz")
        assert samples.x.shape == (len(x), 3, 8, 9)
        assert samples.x.dtype == np.uint8
        np.testing.assert_array_equal(samples.x[:], x.transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(samples.x[np.array([0, 2, 3])], x.transpose(0, 3, 1, 2)[[0, 2, 3]])
    assert pair.source_labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert pair.answers(np.array([0, 1, 3])).tolist() == [1, 0, 1]
    assert pair.source.test.tolist() == [False] * 5 + [True]
    assert pair.target.test.tolist() == [True, False, False, True]
    assert pair.source.groups[1] == pair.target.groups[0]
    assert pair.source.groups[2] == pair.target.groups[3]
    assert not set(pair.source.groups) & set(pair.target.groups[1:3])


@pytest.mark.parametrize("ending", [".npz", ".npy", ".h5"])
def test_images_are_cut_about_their_middle(tmp_path, ending):
    pair = load(tmp_path, ending, DATA, **KEYS, crop=6)
    assert pair.source.x.shape == (6, 3, 6, 6)
    np.testing.assert_array_equal(pair.source.x[:], DATA["xs"].transpose(0, 3, 1, 2)[:, :, 1:7, 1:7])


def test_a_crop_needs_images_that_are_large_enough(tmp_path):
    with pytest.raises(ConfigError, match=r"crop=9 is larger than the images of .*\[8, 9\]"):
        load(tmp_path, ".npz", DATA, **KEYS, crop=9)
    vectors = DATA | {"xs": np.zeros((6, 5)), "xt": np.zeros((4, 5))}
    with pytest.raises(ConfigError, match=r"crop needs images"):
        load(tmp_path, ".npz", vectors, **KEYS, crop=2)


def test_only_what_is_needed(tmp_path):
    needed = {key: value for key, value in KEYS.items() if key != "target_y"}
    pair = load(tmp_path, ".npz", DATA, **needed)
    assert pair.answers(np.arange(4)) is None
    assert pair.source.groups is pair.target.groups is pair.source.test is pair.target.test is None
    assert not pair.shared_groups
    assert pair.classes == ("3", "8")


def test_kinds_of_files_may_be_mixed(tmp_path):
    write(tmp_path / "a.npz", DATA)
    write(tmp_path / "b.h5", DATA)
    np.save(tmp_path / "new_labels.npy", DATA["yt"][::-1])
    pair = Arrays(
        ArraysConfig(
            source=str(tmp_path / "a.npz"),
            target=str(tmp_path / "b.h5"),
            **{**KEYS, "target_y": str(tmp_path / "new_labels.npy")},
        )
    )
    assert (pair.source.in_memory, pair.target.in_memory) == (True, False)
    assert pair.answers(np.arange(4)).tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("shape", "layout", "result"),
    [
        ((6, 4, 4, 4), "nhwc", (4, 4, 4)),
        ((6, 5, 4, 3), "nhwc", (3, 5, 4)),
        ((6, 5, 4, 3), "nchw", (5, 4, 3)),
        ((6, 28, 28), "auto", (1, 28, 28)),
        ((6, 5), "auto", (5,)),
        ((6, 5), "features", (5,)),
    ],
)
@pytest.mark.parametrize("ending", [".npz", ".npy", ".h5"])
def test_layouts(tmp_path, ending, shape, layout, result):
    x = RNG.normal(size=shape).astype(np.float16)
    pair = load(tmp_path, ending, {**DATA, "xs": x, "xt": x[:4]}, **KEYS, layout=layout)
    assert pair.source.x.shape == (6, *result)
    assert pair.source.x[:].shape == (6, *result)


@pytest.mark.parametrize("ending", [".npy", ".h5"])
def test_files_on_disk_are_read_late(tmp_path, ending):
    large = {"xs": np.ones((1000, 32, 32, 3), dtype=np.float32), "ys": np.arange(1000) % 2}
    options = {"source_x": "xs", "source_y": "ys", "target_x": "xs"}
    load(tmp_path, ending, large, **options)  # imports and caches are not what is measured
    size = large["xs"].nbytes
    if ending == ".h5":
        config = ArraysConfig(source=str(tmp_path / "data.h5"), target=str(tmp_path / "data.h5"), **options)
    else:
        config = ArraysConfig(**{k: str(tmp_path / f"{v}.npy") for k, v in options.items()})
    tracemalloc.start()
    pair = Arrays(config)
    pair.source.x[np.array([3, 500])]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < size / 50
    assert not pair.source.in_memory


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source_x": None}, "pair.source_x is not set"),
        ({"source_y": None}, "pair.source_y is not set"),
        ({"source_y": ""}, "pair.source_y is not set"),
        ({"target_x": None}, "pair.target_x is not set"),
        ({"source": None}, "pair.source is not set; give the file that holds 'xs'"),
        ({"target": None}, "pair.target is not set; give the file that holds 'xt'"),
        ({"shared_groups": True}, "give pair.source_group and pair.target_group"),
        ({"classes": ("only",)}, "one name for each"),
    ],
)
def test_missing_options(tmp_path, options, message):
    write(tmp_path / "a.npz", DATA)
    file = str(tmp_path / "a.npz")
    with pytest.raises(ConfigError, match=message):
        Arrays(ArraysConfig(**{"source": file, "target": file, **KEYS, **options}))


@pytest.mark.parametrize("ending", [".npz", ".npy", ".h5"])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ys": np.arange(5)}, r"xs\S* .*has 6 rows, but .*ys\S* .*has 5"),
        ({"yt": np.arange(5)}, "has 4 rows, but .* has 5"),
        ({"gs": np.arange(7)}, "has 6 rows, but .* has 7"),
        ({"tt": np.zeros(3, dtype=bool)}, "has 4 rows, but .* has 3"),
        ({"ys": np.zeros((6, 2))}, r"has shape \(6, 2\); give one value for each row"),
        ({"ys": np.array(0)}, r"has shape \(\)"),
        (
            {"ys": np.array([0, 1, np.nan, 1, 0.5, 0])},
            "2 of 6 values are not whole numbers, the first in row 2",
        ),
        ({"yt": np.array([9, 10, 9, -1])}, "labels that the source does not have: 9, 10"),
        ({"ts": np.array([0, 1, 2, 0, 0, 0])}, "1 of 6 values are neither true nor false"),
        ({"gt": np.array([0, 1, 2.5, 3])}, "1 of 4 values are not whole numbers"),
        ({"xs": np.zeros((6, 4), dtype=complex)}, "holds complex128"),
        ({"xs": np.full((6, 4), b"word")}, r"holds \|S4"),
        (
            {"xs": np.zeros((6, 8, 9, 3), dtype=[("r", "u1")])},
            "give booleans, integers or floats up to 64 bits",
        ),
        ({"xs": np.zeros((0, 3, 8, 8))}, r"is empty: its shape is \(0, 3, 8, 8\)"),
        ({"xs": np.zeros((6, 0))}, "is empty"),
        ({"xs": np.zeros(6)}, r"has shape \(6,\); give"),
        ({"xs": np.array(1.0)}, r"has shape \(\); give"),
        ({"xs": np.zeros((6, 2, 2, 2, 2))}, "has shape"),
        ({"xs": np.zeros((6, 8, 8, 8))}, "set pair.layout"),
    ],
)
def test_bad_arrays_are_told_in_one_line(tmp_path, ending, changed, message):
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path, ending, {**DATA, **changed}, **KEYS, **OPTIONAL)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="long double is double here")
def test_long_doubles_are_refused(tmp_path):
    with pytest.raises(DataError, match="up to 64 bits"):
        load(tmp_path, ".npz", {**DATA, "xs": np.zeros((6, 4), dtype=np.longdouble)}, **KEYS)


# --- whatever is thrown at it: success or an error for the user -----------------------------------------

ANY_ARRAY = hnp.arrays(
    dtype=st.one_of(
        hnp.scalar_dtypes(), hnp.byte_string_dtypes(max_len=3), hnp.unicode_string_dtypes(max_len=3)
    ),
    shape=hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5),
)


@st.composite
def domains(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """Arrays that fit each other, with labels and ids of one kind; up to two of them replaced by anything."""
    axes = draw(st.sampled_from([(4,), (4, 5), (3, 4, 5), (4, 5, 3), (4, 4, 4)]))
    kind = draw(st.sampled_from(["?", "u1", ">i4", "i8", "f2", "f8", "U2", "S2"]))
    value = {"U": st.sampled_from(["a", "é", "ab"]), "S": st.sampled_from([b"a", b"ab"])}
    value |= {"f": st.sampled_from([0.0, 1.0, 7.0])}
    arrays = {}
    for side in "st":
        n = draw(st.integers(1, 5))
        arrays[f"x{side}"] = draw(hnp.arrays(st.sampled_from(["u1", ">i4", "f2", "f8", "?"]), (n, *axes)))
        column = hnp.arrays(kind, n, elements=value.get(np.dtype(kind).kind, st.integers(0, 1)))
        arrays[f"y{side}"], arrays[f"g{side}"] = draw(column), draw(column)
        arrays[f"t{side}"] = draw(hnp.arrays(st.sampled_from(["?", "u1"]), n, elements=st.integers(0, 1)))
    for key in draw(st.lists(st.sampled_from(sorted(arrays)), max_size=2, unique=True)):
        arrays[key] = draw(st.one_of(ANY_ARRAY, hnp.arrays(hnp.scalar_dtypes(), len(arrays[key]))))
    return arrays


@settings(max_examples=120)
@given(
    domains(), st.sampled_from([".npz", ".npy", ".h5"]), st.sampled_from(["auto", "nchw", "nhwc", "features"])
)
def test_any_arrays(arrays, ending, layout):
    with tempfile.TemporaryDirectory() as folder:
        if ending == ".h5":
            arrays = {k: np.char.encode(v, "utf-8") if v.dtype.kind == "U" else v for k, v in arrays.items()}
            arrays = {k: v.astype("i8") if v.dtype.kind in "mM" else v for k, v in arrays.items()}
        try:
            pair = load(Path(folder), ending, arrays, **KEYS, **OPTIONAL, layout=layout)
        except DatkError:
            return
        for side, samples, labels in (
            ("s", pair.source, pair.source_labels),
            ("t", pair.target, pair.answers(np.arange(len(arrays["yt"])))),
        ):
            assert samples.x.shape[0] == len(labels) == len(samples.groups) == len(samples.test)
            assert samples.x[:].shape == samples.x.shape
            np.testing.assert_array_equal(
                np.sort(samples.x[:], axis=None), np.sort(arrays[f"x{side}"], axis=None)
            )
            original = arrays[f"y{side}"]
            for k, name in enumerate(pair.classes):
                found = {str(v) for v in original[labels == k].tolist()}
                assert len(found) <= 1 or original.dtype.kind == "f" or name in found


@functools.cache
def whole_file(ending: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{ending}"
        if ending == ".npy":
            np.save(path, DATA["xs"])
        else:
            write(path, {key: DATA[key] for key in ("xs", "ys")})
        return path.read_bytes()


@st.composite
def damaged_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """Noise, a file cut short, or one with bytes changed (not HDF5, whose library may crash on those)."""
    ending = draw(st.sampled_from([".npz", ".npy", ".h5"]))
    data = bytearray(whole_file(ending))
    damage = draw(st.sampled_from(["noise", "cut", "change"]))
    if damage == "noise":
        data = draw(st.sampled_from([b"", data[:8]])) + draw(st.binary(max_size=200))
    elif damage == "cut" or ending == ".h5":
        data = data[: draw(st.integers(0, len(data)))]
    else:
        for at in draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=4)):
            data[at] = draw(st.integers(0, 255))
    return ending, bytes(data)


@settings(max_examples=200)
@given(damaged_files())
def test_any_bytes(file):
    ending, data = file
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{ending}"
        path.write_bytes(data)
        np.save(Path(folder) / "y.npy", DATA["ys"])
        labels = str(Path(folder) / "y.npy")
        x = str(path) if ending == ".npy" else "xs"
        config = ArraysConfig(source=str(path), target=str(path), source_x=x, source_y=labels, target_x=x)
        try:
            pair = Arrays(config)
            assert pair.source.x[:].shape == pair.source.x.shape
        except DatkError:
            pass
        assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("source", "target", "numbers"),
    [
        (["a", "b"], np.array(["b", None, np.nan, "c"], object), [1, -1, -1, -2]),
        (["a", "b"], np.array(["b", -1, "", "a"], object), [1, -1, -1, 0]),
        ([3, 8], np.array([8, None, 3, 5], object), [1, -1, 0, -2]),
        ([3, 8], np.array([8, np.nan, 3, -1]), [1, -1, 0, -1]),
        ([0, 1], np.array([[1, 0], [0, 1], [np.nan, np.nan], [1, 0]]), [0, 1, -1, 0]),
        ([0, 1], np.array([[1], [-1], [7], [0]]), [1, -1, -2, 0]),
    ],
    ids=["None and NaN", "-1 beside strings", "None beside numbers", "NaN", "one-hot", "a column"],
)
def test_target_labels_that_are_not_known(source, target, numbers):
    x = np.zeros((4, 3))
    pair = Arrays(ArraysConfig(source_x=x, source_y=np.array(source * 2), target_x=x, target_y=target))
    assert pair.answers(np.arange(4)).tolist() == numbers
    assert any("labels that the source does not have" in note for note in pair.notes) == (-2 in numbers)


@pytest.mark.parametrize("missing", [None, np.nan, ""])
def test_a_source_label_that_is_missing_is_an_error(missing):
    x, labels = np.zeros((4, 3)), np.array(["a", "b", missing, "a"], object)
    with pytest.raises(DataError, match="source_y"):
        Arrays(ArraysConfig(source_x=x, source_y=labels, target_x=x))
