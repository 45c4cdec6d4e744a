"""Regression: metrics against plain loops, constants, and what it refuses."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import r2_score

from datk.base.errors import DataError
from datk.interfaces import PairInfo
from datk_tasks.metrics import r2, score_numbers
from datk_tasks.regression import Regression

NAMES = ("redshift", "mass", "size")


def numbers(rows, columns, seed):
    rng = np.random.default_rng(seed)
    labels = rng.normal(size=(rows, columns)) * [1, 3e5, 1e-4][:columns] + [0, 1e6, 5][:columns]
    return labels + rng.normal(size=labels.shape) * labels.std(axis=0), labels


def task_for(targets=("redshift",)):
    task = Regression(Regression.Config())
    task.outputs(PairInfo(shape=(3,), targets=tuple(targets)))
    return task


def fitted(labels):
    task = task_for(NAMES[: labels.shape[1]])
    task.fit(labels)
    return task


# --- metrics -------------------------------------------------------------------------------------------


@given(st.integers(1, 3), st.integers(2, 40), st.integers(0, 2**32))
def test_metrics_against_plain_loops(columns, rows, seed):
    predicted, labels = numbers(rows, columns, seed)
    found = score_numbers(predicted, labels, NAMES[:columns])
    each = []
    for k in range(columns):
        mean = sum(float(y) for y in labels[:, k]) / rows
        absolute = squares = total = 0.0
        for p, y in zip(predicted[:, k].tolist(), labels[:, k].tolist(), strict=True):
            absolute += abs(p - y)
            squares += (p - y) ** 2
            total += (y - mean) ** 2
        each.append({"r2": 1 - squares / total, "mae": absolute / rows, "rmse": math.sqrt(squares / rows)})
    for name in ("r2", "mae", "rmse"):
        assert found[name] == pytest.approx(sum(one[name] for one in each) / columns)
        if columns > 1:
            for target, one in zip(NAMES, each, strict=False):
                assert found[f"{name} {target}"] == pytest.approx(one[name])
    assert found["n"] == rows
    assert len(found) == 4 + 3 * columns * (columns > 1)


def test_against_scikit_learn():
    predicted, labels = numbers(200, 3, 0)
    assert score_numbers(predicted, labels, NAMES)["r2"] == pytest.approx(r2_score(labels, predicted))


def test_what_r2_means():
    labels = np.array([1.0, 2.0, 6.0])
    assert r2(labels, labels) == 1.0
    assert r2(np.full(3, 3.0), labels) == pytest.approx(0.0)
    assert r2(labels[::-1], labels) == pytest.approx(1 - 50 / 14)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("labels", [[0.1] * 7, [5.0], [1e300, 1e300]])
def test_labels_that_are_all_the_same_have_no_r2(labels):
    found = score_numbers(np.array([labels]).T + 1, np.array([labels]).T)
    assert found == {
        "r2": None,
        "mae": pytest.approx(1, abs=1.01),
        "rmse": pytest.approx(1, abs=1.01),
        "n": len(labels),
    }


def test_one_number_that_is_the_same_leaves_the_mean_undefined():
    predicted, labels = numbers(9, 2, 0)
    labels[:, 1] = 4
    found = score_numbers(predicted, labels, NAMES[:2])
    assert found["r2"] is found["r2 mass"] is None
    assert found["r2 redshift"] == pytest.approx(r2_score(labels[:, 0], predicted[:, 0]))
    assert found["mae"] == pytest.approx(np.abs(predicted - labels).mean())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("unit", [1e-200, 1e-30, 1e30, 1e200])
def test_r2_is_the_same_in_any_unit(unit):
    predicted, labels = numbers(30, 1, 0)
    plain, scaled = score_numbers(predicted, labels), score_numbers(predicted * unit, labels * unit)
    assert scaled["r2"] == pytest.approx(plain["r2"])
    assert scaled["mae"] == pytest.approx(plain["mae"] * unit, rel=1e-12, abs=0)
    assert scaled["rmse"] == pytest.approx(plain["rmse"] * unit, rel=1e-12, abs=0)


def test_metrics_are_plain_numbers():
    assert {type(value) for value in score_numbers(*numbers(9, 2, 0), NAMES[:2]).values()} == {float, int}
    assert score_numbers(np.ones((3, 1)), np.ones((3, 1)))["rmse"] == 0.0


# --- the task ------------------------------------------------------------------------------------------


@given(st.integers(1, 3), st.integers(0, 2**32))
def test_numbers_are_standardised_each_by_itself(columns, seed):
    _, labels = numbers(20, columns, seed)
    task = fitted(labels)
    encoded = task.encode(torch.from_numpy(labels))
    assert encoded.dtype == torch.float32
    for k in range(columns):
        column = labels[:, k].tolist()
        mean = sum(column) / 20
        deviation = math.sqrt(sum((y - mean) ** 2 for y in column) / 20)
        np.testing.assert_allclose(
            encoded[:, k], [(y - mean) / deviation for y in column], rtol=1e-5, atol=1e-6
        )
    np.testing.assert_allclose(task.decode(encoded), labels, rtol=0, atol=1e-6 * np.ptp(labels, axis=0).max())


def test_labels_that_float32_cannot_tell_apart():
    """Days since 4713 BC: the nearest float32 numbers are a quarter of a day from each other."""
    days = 2460000.5 + np.linspace(0, 0.1, 11)
    task = fitted(days[:, None])
    np.testing.assert_allclose(
        task.decode(task.encode(torch.from_numpy(days)))[:, 0], days, rtol=0, atol=1e-7
    )
    assert task.score(task.encode(torch.from_numpy(days)), torch.from_numpy(days))["mae"] < 1e-7


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("unit", [1e-250, 1e250])
def test_labels_whose_squares_are_beyond_float64(unit):
    task = fitted(unit * np.arange(4.0)[:, None])
    np.testing.assert_allclose(
        task.encode(torch.from_numpy(unit * np.arange(4.0)))[:, 0],
        (np.arange(4) - 1.5) / 1.25**0.5,
        rtol=1e-6,
    )


def test_loss_against_a_loop():
    generator = torch.Generator().manual_seed(0)
    outputs, labels = (torch.randn(5, 3, generator=generator) for _ in range(2))
    expected = [
        sum((o - y) ** 2 for o, y in zip(*rows, strict=True)) / 3
        for rows in zip(outputs.tolist(), labels.tolist(), strict=True)
    ]
    np.testing.assert_allclose(task_for(NAMES).loss(outputs, labels), expected, rtol=1e-5)


@pytest.mark.parametrize("columns", [1, 3])
def test_scores_are_in_the_units_of_the_labels(columns):
    predicted, labels = numbers(50, columns, 0)
    task = fitted(labels)
    outputs = torch.from_numpy((predicted - labels.mean(axis=0)) / labels.std(axis=0)).float()
    given = torch.from_numpy(labels[:, 0] if columns == 1 else labels)
    found, wanted = task.score(outputs, given), score_numbers(predicted, labels, NAMES[:columns])
    assert found == {name: pytest.approx(value, rel=1e-5) for name, value in wanted.items()}
    assert task.headline(outputs, task.encode(given)) == pytest.approx(wanted["r2"], rel=1e-4)


def test_a_headline_that_is_not_defined():
    task = fitted(np.arange(4.0)[:, None])
    assert task.headline(torch.zeros(3, 1), torch.ones(3, 1)) is None


def test_constants_are_saved_whole_and_need_no_float64():
    """Not every device has float64."""
    _, labels = numbers(20, 3, 0)
    task, other = fitted(labels), task_for(NAMES)
    assert {buffer.dtype for buffer in task.buffers()} == {torch.int64}
    other.load_state_dict(task.half().state_dict())
    assert torch.equal(other.mean, torch.from_numpy(labels.mean(axis=0)))
    assert torch.equal(other.deviation, task.deviation)


def test_outputs_follow_the_names_of_the_numbers():
    assert task_for(()).outputs(PairInfo(shape=(3,))) == 1
    assert task_for(NAMES).outputs(PairInfo(shape=(3,), targets=NAMES)) == 3


@pytest.mark.parametrize(
    ("classes", "listed"),
    [(("spiral", "elliptical"), "spiral, elliptical"), (tuple("abcdef"), r"a, b, c, d, \.\.\.")],
)
def test_classes_are_refused(classes, listed):
    with pytest.raises(DataError, match=rf"are classes \({listed}\), not numbers; leave out task=regression"):
        task_for().outputs(PairInfo(shape=(3,), classes=classes))


@pytest.mark.parametrize(
    ("labels", "targets", "message"),
    [
        (
            np.array([1, np.nan, np.inf]),
            ("a",),
            "2 of 3 labels are NaN or infinite, the first in row 1; remove",
        ),
        (
            np.array([[1, 2], [3, np.nan]]),
            ("a", "b"),
            "1 of 2 labels are NaN or infinite, the first in row 1",
        ),
        (
            np.ones((4, 3)),
            ("a", "b"),
            r"shape \[4, 3\] hold 3 numbers a row, but the pair names 2 in `targets`",
        ),
        (np.ones((4, 2)), (), "hold 2 numbers a row, but the pair names 1 in `targets`; name each of them"),
        (np.ones(4), ("a", "b"), r"shape \[4\] hold 1 numbers a row, but the pair names 2"),
        (np.array(["x"]), ("a",), "must be numbers up to 64 bits, not <U1"),
        (np.array([True]), ("a",), "not bool"),
    ],
)
def test_labels_that_are_no_numbers(labels, targets, message):
    with pytest.raises(DataError, match=message):
        task_for(targets).check(labels, PairInfo(shape=(3,), targets=targets))


@pytest.mark.parametrize("dtype", ["i8", "u1", "f2", "f8"])
def test_numbers_of_any_type(dtype):
    labels = np.array([1, 2, 4], dtype=dtype)
    task = task_for()
    task.check(labels, PairInfo(shape=(3,), targets=("a",)))
    task.fit(labels)
    assert task.mean.tolist() == [pytest.approx(7 / 3)]


@pytest.mark.parametrize("value", [0.0, 0.1, 1e300, -7.25])
def test_a_number_that_is_the_same_in_all_rows(value):
    labels = np.full((9, 2), value)
    with pytest.raises(
        DataError, match=r"^the label is \S+ in all training rows of the source: there is nothing"
    ):
        task_for().fit(labels[:, 0])
    labels[:, 0] = np.arange(9)
    with pytest.raises(DataError, match=r"^'mass' is \S+ in all .* to learn; leave it out$"):
        fitted(labels)


@pytest.mark.filterwarnings("error")
def test_labels_without_a_mean():
    with pytest.raises(DataError, match="too large to take their mean; give them in another unit"):
        task_for().fit(np.array([1.7e308, 1.7e308, 0]))
