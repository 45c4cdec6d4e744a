import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datk.base.errors import ConfigError, DataError
from datk.interfaces import OTHER_CLASS, UNLABELLED
from datk_arrays.labels import (
    Column,
    class_numbers,
    clean_answers,
    clean_column,
    flags,
    group_numbers,
    other_classes,
)


def column(values, name="y", dtype=None) -> Column:
    return clean_column(np.array(values, dtype=dtype), name)


@pytest.mark.parametrize(
    ("values", "dtype", "classes", "numbers"),
    [
        ([7, -1, 7, 3], "i8", ("-1", "3", "7"), [2, 0, 2, 1]),
        ([7, 255, 7, 3], "u1", ("3", "7", "255"), [1, 2, 1, 0]),
        ([2**63 - 1, 0], "u8", ("0", str(2**63 - 1)), [1, 0]),
        ([True, False, True], "?", ("0", "1"), [1, 0, 1]),
        ([2.0, -0.0, 0.0, 10.0], "f8", ("0", "2", "10"), [1, 0, 0, 2]),
        ([2.0, 60000.0], "f2", ("2", "60000"), [0, 1]),
        (["b", "a", "B", "a"], "U", ("B", "a", "b"), [2, 1, 0, 1]),
    ],
)
def test_labels_become_class_numbers(values, dtype, classes, numbers):
    labels = column(values, dtype=dtype)
    names, source, target = class_numbers(labels, labels, None)
    assert names == classes
    assert source.tolist() == target.tolist() == numbers
    assert source.dtype == np.int64


def test_target_without_labels_has_no_numbers():
    assert class_numbers(column([0, 1]), None, None)[2] is None


def test_target_is_numbered_as_the_source_is():
    _, source, target = class_numbers(column([5, 9, 11]), column([11.0, 9.0]), None)
    assert source.tolist() == [0, 1, 2]
    assert target.tolist() == [2, 1]


def test_names_for_integer_labels():
    names, numbers, _ = class_numbers(column([9, 5]), None, ("merger", "galaxy"))
    assert names == ("merger", "galaxy")
    assert numbers.tolist() == [1, 0]


def test_names_order_string_labels():
    names, numbers, target = class_numbers(column(["b", "a", "c"]), column(["a"]), ("c", "a", "b"))
    assert names == ("c", "a", "b")
    assert numbers.tolist() == [2, 1, 0]
    assert target.tolist() == [1]


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 1], ("a",), "'a', but y has 2 labels: 0, 1; give one name for each"),
        ([0, 1], ("a", "b", "c"), "one name for each"),
        ([0, 1], ("a", "a"), "names a class twice"),
        ([0, 1], (), "one name for each"),
        (["a", "b"], ("a", "c"), "the labels in the order you want"),
        (["a", "b"], ("a", "b", "c"), "'a', 'b', 'c', but y has 2 labels: 'a', 'b'"),
    ],
)
def test_names_that_do_not_fit(labels, names, message):
    with pytest.raises(ConfigError, match=message):
        class_numbers(column(labels), None, names)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ([0, 1], [7, 8, -1, 7], "t has labels that the source does not have: 7, 8; the source has: 0, 1"),
        (["a", "b"], ["A", "c"], "does not have: 'A', 'c'"),
        ([0, 1], ["0", "1"], "does not have: '0', '1'; the source has: 0, 1"),
        ([0, 1], range(2, 100), r"9, 10, 11, \.\.\. \(98 in all\)"),
    ],
)
def test_labels_none_of_which_the_source_has(source, target, message):
    with pytest.raises(DataError, match=message):
        class_numbers(column(source), column(target, "t"), None)


@pytest.mark.parametrize(
    ("source", "target", "numbers"),
    [
        ([5, 9], [9, -1, 5, 7], [1, UNLABELLED, 0, OTHER_CLASS]),
        ([5, 9], [9.0, np.nan, 5.0, -1.0], [1, UNLABELLED, 0, UNLABELLED]),
        ([-1, 1], [-1, 1, 0, -1], [0, 1, OTHER_CLASS, 0]),  # where -1 is a class
        ([-1, 1], [-1, np.nan, 1, 2], [0, UNLABELLED, 1, OTHER_CLASS]),
        (["a", "b"], ["b", "", "a", "c"], [1, UNLABELLED, 0, OTHER_CLASS]),
        (["a", "b"], ["nan", "None", "a", "-1"], [UNLABELLED, UNLABELLED, 0, UNLABELLED]),
        (["None", "some"], ["None", "", "some", "nan"], [0, UNLABELLED, 1, UNLABELLED]),
        (["a", "b"], np.array(["b", None, np.nan, "c"], object), [1, UNLABELLED, UNLABELLED, OTHER_CLASS]),
        ([5, 9], np.array([9, None, 5, -1], object), [1, UNLABELLED, 0, UNLABELLED]),
        ([5, 9], [-1, -1], [UNLABELLED, UNLABELLED]),
        (["a", "b"], [np.nan, np.nan], [UNLABELLED, UNLABELLED]),
        (["a", "b"], ["", ""], [UNLABELLED, UNLABELLED]),
    ],
)
def test_labels_of_the_target_that_are_not_known(source, target, numbers):
    answers = clean_answers(np.asarray(target), "t")
    assert class_numbers(column(source), answers, None)[2].tolist() == numbers


def test_labels_that_the_source_does_not_have_are_noted():
    answers = clean_answers(np.array(["a", "ring", "", "bar", "bar"]), "t")
    numbers = class_numbers(column(["a", "b"]), answers, None)[2]
    assert other_classes(answers, numbers) == ("t has labels that the source does not have: 'bar', 'ring'",)
    assert other_classes(answers._replace(values=np.array(["a"] * 5)), np.zeros(5, int)) == ()


def test_a_message_names_the_row_of_the_file():
    with pytest.raises(DataError, match=r"1 of 4 values are not whole numbers, the first in row 3 .*: 0\.5"):
        clean_answers(np.array([np.nan, 1, np.nan, 0.5]), "t")


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        (
            [0, 1, np.nan, 1, np.inf],
            "f4",
            r"y: 2 of 5 values are not whole numbers, the first in row 2 .*: nan",
        ),
        ([0, 0.5], "f8", r"1 of 2 values are not whole numbers, the first in row 1 .*: 0\.5"),
        ([0, 1e30], "f8", "row 1"),
        ([0, np.inf], "f2", "row 1"),
        ([0, 2**63], "u8", "beyond 64 bits with a sign, the first in row 1"),
        (["a", "", ""], "U", "2 of 3 values are empty strings, the first in row 1"),
        ([0, 1j], "c16", "y holds complex128; give integers, booleans or strings"),
        ([0, 1], "M8[s]", "y holds datetime64"),
    ],
)
def test_values_that_are_no_labels(values, dtype, message):
    with pytest.raises(DataError, match=message):
        column(values, dtype=dtype)


@given(st.lists(st.sampled_from([-3, 0, 4, 11, 2**40]), min_size=1, max_size=30))
def test_numbers_and_classes_give_the_labels_back(labels):
    names, numbers, _ = class_numbers(column(labels), None, None)
    assert [int(names[k]) for k in numbers] == labels
    assert sorted(set(numbers.tolist())) == list(range(len(names)))


def test_groups_of_their_own():
    source, target = group_numbers(column([70, 5, 70]), column(["x", "w"]), shared=False)
    assert source.tolist() == [1, 0, 1]
    assert target.tolist() == [1, 0]
    assert group_numbers(None, None, shared=False) == (None, None)


@pytest.mark.parametrize(
    ("source", "target"), [(["J12", "J7", "J12"], ["J7", "J99"]), ([12, 7, 12], [7.0, 99.0])]
)
def test_shared_groups_have_equal_numbers(source, target):
    one, two = group_numbers(column(source), column(target), shared=True)
    assert one.dtype == two.dtype == np.int64
    assert one[1] == two[0]
    assert one[0] == one[2]
    assert len({*one.tolist(), *two.tolist()}) == 3


def test_shared_groups_that_cannot_match():
    with pytest.raises(ConfigError, match=r"give pair\.source_group and pair.target_group"):
        group_numbers(column([1]), None, shared=True)
    with pytest.raises(DataError, match="numbers and strings"):
        group_numbers(column([1]), column(["1"]), shared=True)


@pytest.mark.parametrize("dtype", ["?", "u1", "i8", "f4"])
def test_flags(dtype):
    assert flags(column([1, 0, 1], dtype=dtype)).tolist() == [True, False, True]
    assert flags(column([1], dtype=dtype)).dtype == np.bool_


@pytest.mark.parametrize(("values", "first"), [([0, 2, -1], "2"), (["True", "no"], "'True'")])
def test_values_that_are_no_flags(values, first):
    with pytest.raises(DataError, match=f"2 of . values are neither true nor false .*: {first}$"):
        flags(column(values))
