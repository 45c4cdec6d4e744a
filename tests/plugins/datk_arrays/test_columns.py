"""Labels as pandas, torch and Keras leave them."""

import re

import numpy as np
import pytest

from datk.base.errors import DataError
from datk_arrays.columns import one_kind, plain_column
from datk_arrays.pair import Arrays, ArraysConfig

ROWS = 4
WORDS = ["b", "a", "b", "c"]


def column(values, dtype=None, **options):
    values = np.array(values, dtype=dtype)
    return plain_column(values, "y", ROWS, **{"one_hot": True, **options})


@pytest.mark.parametrize(
    ("values", "dtype", "found", "how"),
    [
        (WORDS, object, WORDS, "strings, of an array of objects"),
        ([word.encode() for word in WORDS], object, WORDS, "strings, of an array of objects"),
        ([np.str_(word) for word in WORDS], object, WORDS, "strings, of an array of objects"),
        ([[word] for word in WORDS], object, WORDS, r"shape \(4, 1\).*; strings"),
        ([2, 0, 2, 1], object, [2, 0, 2, 1], "numbers, of an array of objects"),
        ([True, False, True, True], object, [True, False, True, True], "booleans, of an array of objects"),
        ([[2], [0], [2], [1]], "i8", [2, 0, 2, 1], r"an array of shape \(4, 1\), one value for each row"),
        ([[2, 0, 2, 1]], "i8", [2, 0, 2, 1], r"an array of shape \(1, 4\)"),
        ([[1.0], [0.0], [1.0], [1.0]], "f4", [1, 0, 1, 1], r"\(4, 1\).*; floats that are whole numbers"),
        ([2.0, 0.0, 2.0, 1.0], "f4", [2, 0, 2, 1], "floats that are whole numbers"),
        ([True, False, True, True], "?", [1, 0, 1, 1], "booleans, 0 for False and 1 for True"),
        (np.eye(3)[[2, 0, 2, 1]], "f4", [2, 0, 2, 1], "one-hot, class k for column k of 3"),
        (np.eye(3)[[2, 0, 2, 1]], "u1", [2, 0, 2, 1], "one-hot, class k for column k of 3"),
        (np.eye(3)[[2, 0, 2, 1]], "?", [2, 0, 2, 1], "one-hot, class k for column k of 3"),
        (np.eye(3)[[2, 0, 2, 1]], object, [2, 0, 2, 1], "objects; one-hot"),
        ([[1, 0], [0, 1], [np.nan, np.nan], [1, 0]], "f4", [0, 1, np.nan, 0], "one-hot"),
        (["a", None, np.nan, ""], object, ["a", "", "", ""], "strings"),
        ([1, None, np.nan, 3], object, [1, np.nan, np.nan, 3], "numbers"),
    ],
)
def test_labels_are_taken_and_it_is_told_how(values, dtype, found, how):
    plain = column(values, dtype)
    assert plain.values.shape == (ROWS,)
    np.testing.assert_array_equal(plain.values, np.array(found))
    (note,) = plain.notes
    assert note.startswith("y was read as ")
    assert re.search(how, note)


@pytest.mark.parametrize("values", [[1, 0, 2, 1], WORDS])
def test_plain_labels_need_no_note(values):
    assert column(values).notes == ()


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        (
            [[0.7, 0.3]] * 4,
            "f4",
            r"not one-hot \(row 0, counted from 0, is 0\.7, 0\.3\) and has shape \(4, 2\)",
        ),
        ([[1, 0], [1, 1], [0, 1], [0, 1]], "i8", r"not one-hot \(row 1, counted from 0, is 1, 1\)"),
        ([[1, 0], [0, 0], [0, 1], [0, 1]], "?", r"not one-hot \(row 1, counted from 0, is 0, 0\)"),
        ([[1, np.nan]] * 4, "f4", r"not one-hot \(row 0"),
        ([[2, 0]] * 4, "i8", r"not one-hot"),
        ([["a", "b"]] * 4, "U1", r"has shape \(4, 2\); give one value for each row"),
        (["a", 1, "b", 2], object, r"objects, of several kinds .*: number, string; give strings or numbers"),
        ([True, 1, 2, 0], object, r"several kinds or none that is a label: number and boolean"),
        ([[1], [1, 2], 3, 4], object, r": list, number"),
        ([b"\xff"] * 4, object, r"no UTF-8"),
        ([10**30] * 4, object, r"beyond 64 bits"),
        ([2**53 + 1, None, 1, 2], object, r"beyond 2\*\*53"),
    ],
)
def test_what_may_mean_several_things_is_refused(values, dtype, message):
    with pytest.raises(DataError, match=message):
        column(values, dtype)


def test_ids_are_never_one_hot():
    with pytest.raises(DataError, match=r"has shape \(4, 4\); give one value for each row$"):
        column(np.eye(4), one_hot=False)
    assert column([[7], [7], [8], [9]], one_hot=False).values.tolist() == [7, 7, 8, 9]


def test_other_arrays_stay_as_they_are():
    values = np.arange(3)
    assert one_kind(values, "y")[0] is values


X = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)


def pair(folder, source, target=None, **options):
    arrays = {"x": X, "ys": source, "yt": source if target is None else target}
    np.savez(folder / "a.npz", **arrays)
    keys = {"source_x": "x", "source_y": "ys", "target_x": "x", "target_y": "yt"}
    file = str(folder / "a.npz")
    return Arrays(ArraysConfig(source=file, target=file, **keys | options))


def test_a_pair_of_objects(tmp_path):
    found = pair(tmp_path, np.array(["s", "e", "s", "e", "e", "s"], object))
    assert found.classes == ("e", "s")
    assert found.source_labels.tolist() == found.answers(np.arange(6)).tolist() == [1, 0, 1, 0, 0, 1]
    assert len(found.notes) == 2
    assert "'ys' in" in found.notes[0]
    assert "strings, of an array of objects" in found.notes[0]


def test_a_pair_of_columns(tmp_path):
    one_hot = np.eye(3, dtype="f4")[[0, 2, 1, 0, 1, 2]]
    found = pair(tmp_path, one_hot, one_hot[::-1], classes=("E", "S", "Irr"))
    assert found.classes == ("E", "S", "Irr")
    assert found.source_labels.tolist() == [0, 2, 1, 0, 1, 2]
    assert found.answers(np.arange(6)).tolist() == [2, 1, 0, 1, 2, 0]
    numbers = pair(tmp_path, np.array([0, 2, 1, 0, 1, 2]), one_hot)
    assert numbers.answers(np.arange(6)).tolist() == [0, 2, 1, 0, 1, 2]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.array([1, 2, 3, 1, 2, 3]), "is one-hot, but the labels of the source are not the numbers 0 to 2"),
        (np.array(list("abcabc")), "is one-hot, but the labels of the source are not the numbers 0 to 2"),
        (np.eye(2)[[0, 1, 0, 1, 0, 1]], "has 3 one-hot columns, and the source 2"),
    ],
)
def test_columns_that_may_be_other_classes(tmp_path, source, message):
    with pytest.raises(DataError, match=message):
        pair(tmp_path, source, np.eye(3)[[0, 1, 2, 0, 1, 2]])


@pytest.mark.parametrize("missing", [None, np.nan, ""])
def test_a_source_label_that_is_missing_is_refused(tmp_path, missing):
    labels = np.array(["s", missing, "s", "e", "e", "s"], object)
    with pytest.raises(DataError, match=r"1 of 6 values are empty strings, the first in row 1"):
        pair(tmp_path, labels, np.array(["s", "e"] * 3))
    found = pair(tmp_path, np.array(["s", "e"] * 3), labels)
    assert found.answers(np.arange(6)).tolist() == [1, -1, 1, 0, 0, 1]


def test_labels_of_pandas(tmp_path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    words = ["s", "e", "s", "e", "e", "s"]
    for labels in (
        pandas.Series(words).to_numpy(dtype=object),
        np.asarray(pandas.Categorical(words)),
        pandas.get_dummies(pandas.Series(words)).to_numpy(),
        pandas.get_dummies(pandas.Series(words), dtype=float).to_numpy(),
        pandas.DataFrame({"y": words}).to_numpy(dtype=object),
    ):
        found = pair(tmp_path, labels)
        assert found.source_labels.tolist() == [1, 0, 1, 0, 0, 1]
        assert found.notes
