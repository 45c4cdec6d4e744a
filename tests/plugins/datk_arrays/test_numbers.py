"""Labels that are numbers, and rows of several sources."""

import numpy as np
import pytest

from datk.base.errors import ConfigError, DataError
from datk_arrays.labels import clean_column, source_numbers
from datk_arrays.numbers import clean_numbers, target_names
from datk_arrays.pair import Arrays, ArraysConfig
from tests.plugins.datk_arrays.test_pair import DATA, KEYS, write

NUMBERS = {
    "ys": np.array([0.5, -1.25, 3.0, 1e-7, 2.0, 2.0]),
    "yt": np.array([9.5, -8.0, 0.1, 0.2]),
}
ENDINGS = pytest.mark.parametrize("ending", [".npz", ".npy", ".h5"])


def load(folder, ending, arrays, **options):
    """The pair read from files just written; options that end in _x, _y, _group or _domain are keys."""
    if ending == ".npy":
        for key, array in arrays.items():
            np.save(folder / f"{key}.npy", array)
        keys = {name: key for name, key in options.items() if str(key) in arrays}
        return Arrays(
            ArraysConfig(**options | {name: str(folder / f"{key}.npy") for name, key in keys.items()})
        )
    path = folder / f"data{ending}"
    path.unlink(missing_ok=True)
    write(path, arrays)
    return Arrays(ArraysConfig(source=str(path), target=str(path), **options))


def regression(folder, ending=".npz", **changes):
    arrays = {key: changes.pop(key) for key in list(changes) if key in DATA}
    return load(folder, ending, DATA | NUMBERS | arrays, task="regression", **KEYS | changes)


@ENDINGS
def test_numbers_are_kept_in_float64(tmp_path, ending):
    pair = regression(tmp_path, ending)
    assert pair.source_labels.dtype == np.float64
    assert pair.source_labels.tolist() == NUMBERS["ys"].tolist()
    assert pair.answers(np.array([0, 3])).tolist() == [9.5, 0.2]  # values that the source does not have
    assert pair.classes == ()
    assert pair.targets == ("target 0",)


@ENDINGS
def test_numbers_of_the_target_may_be_unknown(tmp_path, ending):
    pair = regression(tmp_path, ending, yt=np.array([9.5, np.nan, 2, np.nan]))
    np.testing.assert_array_equal(pair.answers(np.arange(4)), [9.5, np.nan, 2, np.nan])


@pytest.mark.parametrize("values", [[1.5, None, 2], [1.5, np.nan, 2]])
def test_none_is_a_number_that_nobody_knows(values):
    numbers = clean_numbers(np.array(values, object), "y", may_lack=True).values
    np.testing.assert_array_equal(numbers, [1.5, np.nan, 2])
    with pytest.raises(DataError, match="y holds object"):
        clean_numbers(np.array(values, object), "y")


@ENDINGS
@pytest.mark.parametrize("dtype", ["i8", "u1", "f4", "f2"])
def test_numbers_of_any_type(tmp_path, ending, dtype):
    values = np.array([3, 8, 3, 0, 200, 1], dtype=dtype)
    pair = regression(tmp_path, ending, ys=values, target_y=None)
    assert pair.source_labels.dtype == np.float64
    assert pair.source_labels.tolist() == values.tolist()
    assert pair.answers(np.arange(4)) is None


@ENDINGS
def test_several_numbers_a_row(tmp_path, ending):
    source, target = np.arange(12.0).reshape(6, 2), np.arange(8.0).reshape(4, 2)
    pair = regression(tmp_path, ending, ys=source, yt=target)
    assert pair.targets == ("target 0", "target 1")
    np.testing.assert_array_equal(pair.source_labels, source)
    np.testing.assert_array_equal(pair.answers(np.array([1, 2])), target[1:3])
    assert regression(tmp_path, ending, ys=source, yt=target, targets=("z", "mass")).targets == ("z", "mass")


def test_a_column_is_a_number_a_row():
    assert clean_numbers(np.ones((4, 1)), "y").values.shape == (4,)


@ENDINGS
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"ys": np.array([0, np.nan, 1, np.inf, 0.5, 0])},
            r"ys\S* .*2 of 6 rows are NaN or infinite, the first is row 1 \(counted from 0\): nan; remove",
        ),
        (
            {"ys": np.array([[0, 1], [0, np.nan]] * 3), "target_y": None},
            r"3 of 6 rows are NaN or infinite, the first is row 1 .*: \[0\.0, nan\]; remove",
        ),
        ({"yt": np.array([0, 1, 2, np.inf])}, r"yt\S* .*1 of 4 rows are NaN or infinite, the first is row 3"),
        (
            {"ys": np.array(list("abcdef"))},
            "holds strings, and task=regression predicts numbers; give integers",
        ),
        (
            {"yt": np.array([True, False, True, True])},
            "yt.* holds booleans, and task=regression predicts numbers",
        ),
        ({"ys": np.zeros(6, dtype=complex)}, "holds complex128, and task=regression predicts numbers"),
        ({"ys": np.arange(5.0)}, r"xs\S* .*has 6 rows, but .*ys\S* .*has 5"),
        ({"ys": np.zeros((6, 2, 2))}, r"has shape \(6, 2, 2\); give one number for each row"),
        ({"ys": np.zeros((6, 0))}, r"has shape \(6, 0\); give one number"),
        ({"ys": np.array(1.0)}, r"has shape \(\); give one number"),
        (
            {"ys": np.ones((6, 3)), "yt": np.ones((4, 2))},
            "has 3 numbers a row, but .*yt.* has 2 numbers a row; give the same numbers for both domains",
        ),
        ({"ys": np.ones((6, 2))}, "has 2 numbers a row, but .* has 1 number a row"),
    ],
)
def test_values_that_are_no_numbers(tmp_path, ending, changed, message):
    with pytest.raises(DataError, match=message) as caught:
        regression(tmp_path, ending, **changed)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ("a", "b")}, "pair.classes names classes, and task=regression predicts numbers"),
        (
            {"targets": ("a", "b")},
            "pair.targets is 'a', 'b', but .*ys.* has 1 number a row; give one name for each",
        ),
        ({"targets": ()}, "pair.targets is empty, but .* has 1 number a row"),
        ({"targets": (" ",)}, "give names that tell the numbers apart"),
        ({"source_y": None}, "pair.source_y is not set"),
        ({"task": "classification", "targets": ("a",), "source_y": "gs"}, "set task=regression"),
    ],
)
def test_options_that_do_not_fit(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, ".npz", DATA | NUMBERS, **{"task": "regression", **KEYS, **options})


def test_names_that_stand_twice():
    numbers = clean_numbers(np.ones((3, 2)), "y")
    with pytest.raises(
        ConfigError, match=r"pair.targets is 'z', 'z'; give names that tell the numbers apart"
    ):
        target_names(numbers, None, ("z", "z"))


@pytest.mark.parametrize(
    ("values", "says"),
    [([0, 0.5, 1, 1, 0, 0], True), ([0, 0.5, np.nan, 1, 0, 0], True), ([0, 1, np.nan, 1, 0, 0], False)],
)
def test_numbers_without_the_task_are_told_of_it(tmp_path, values, says):
    with pytest.raises(DataError, match="not whole numbers") as caught:
        load(tmp_path, ".npz", DATA | {"ys": np.array(values)}, **KEYS)
    assert str(caught.value).endswith("; to predict numbers, set task=regression") == says


def test_columns_without_the_task_are_told_of_it(tmp_path):
    with pytest.raises(
        DataError, match=r"give one value for each row; to predict numbers, set task=regression$"
    ):
        load(tmp_path, ".npz", DATA | {"ys": np.ones((6, 2))}, **KEYS)
    with pytest.raises(DataError, match=r"give one value for each row$"):
        load(tmp_path, ".npz", DATA | {"gs": np.ones((6, 2))}, **KEYS, source_group="gs")


# --- several sources -----------------------------------------------------------------------------------


@ENDINGS
@pytest.mark.parametrize(
    ("values", "names", "numbers"),
    [
        (["JWST", "HST", "HST", "JWST", "Euclid", "HST"], ("Euclid", "HST", "JWST"), [2, 1, 1, 2, 0, 1]),
        ([7, 3, 3, 7, 3, 3], ("3", "7"), [1, 0, 0, 1, 0, 0]),
        ([True, False, True, True, False, False], ("0", "1"), [1, 0, 1, 1, 0, 0]),
    ],
)
def test_rows_of_several_sources(tmp_path, ending, values, names, numbers):
    pair = load(tmp_path, ending, DATA | {"ds": np.array(values)}, **KEYS, source_domain="ds")
    assert pair.sources == names
    assert pair.source.domain.tolist() == numbers
    assert pair.source.domain.dtype == np.int64
    assert pair.target.domain is None


def test_without_the_option_there_is_one_source(tmp_path):
    pair = load(tmp_path, ".npz", DATA, **KEYS)
    assert pair.sources == ("source",)
    assert pair.source.domain is None


def test_one_source_has_a_name():
    assert source_numbers(clean_column(np.array(["a", "a"]), "s"))[0] == ("a",)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([0, 1, 2.5, 1, 0, 0]), "1 of 6 values are not whole numbers, the first in row 2 .*: 2.5$"),
        (np.array(["a", "", "b", "b", "b", ""]), "2 of 6 values are empty strings"),
        (np.arange(5), "has 6 rows, but .* has 5"),
        (np.ones((6, 2)), "give one value for each row$"),
    ],
)
def test_values_that_name_no_source(tmp_path, values, message):
    with pytest.raises(DataError, match=message):
        load(tmp_path, ".npz", DATA | {"ds": values}, **KEYS, source_domain="ds")


def test_the_options_are_documented():
    for name in ("task", "targets", "source_domain"):
        assert ArraysConfig.model_fields[name].description
    assert "regression" in (Arrays.__doc__ or "")
