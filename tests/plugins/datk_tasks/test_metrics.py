"""Metrics against plain formulas and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from datk_tasks.metrics import area_under_roc, expected_calibration_error, score, softmax


def predictions(rows, classes, seed):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, rows - classes)])
    return softmax(rng.normal(size=(rows, classes)) + 0.7 * np.eye(classes)[labels]), labels


@given(st.integers(2, 5), st.integers(10, 80), st.integers(0, 2**32))
def test_against_plain_formulas(classes, rows, seed):
    probabilities, labels = predictions(rows, classes, seed)
    found = score(probabilities, labels)
    predicted = [int(np.argmax(row)) for row in probabilities]
    precisions, recalls, f1s, areas = [], [], [], []
    for k in range(classes):
        hits = sum(p == k and y == k for p, y in zip(predicted, labels, strict=True))
        named, true = predicted.count(k), int((labels == k).sum())
        precisions.append(hits / named if named else 0.0)
        recalls.append(hits / true if true else 0.0)
        f1s.append(2 * hits / (named + true) if named + true else 0.0)
        wins = [
            1.0 if a > b else 0.5 if a == b else 0.0
            for a in probabilities[labels == k, k]
            for b in probabilities[labels != k, k]
        ]
        areas.append(sum(wins) / len(wins))
    of_interest = slice(1, None) if classes == 2 else slice(None)
    assert found["accuracy"] == pytest.approx(
        np.mean([p == y for p, y in zip(predicted, labels, strict=True)])
    )
    assert found["precision"] == pytest.approx(np.mean(precisions[of_interest]))
    assert found["recall"] == pytest.approx(np.mean(recalls[of_interest]))
    assert found["f1"] == pytest.approx(np.mean(f1s[of_interest]))
    assert found["auc"] == pytest.approx(np.mean(areas[of_interest]))
    if classes == 2:
        assert found["brier"] == pytest.approx(np.mean((probabilities[:, 1] - labels) ** 2))
    else:
        squares = [
            np.sum((row - np.eye(classes)[y]) ** 2) for row, y in zip(probabilities, labels, strict=True)
        ]
        assert found["brier"] == pytest.approx(np.mean(squares))
    assert found["n"] == rows


@given(st.integers(2, 5), st.integers(10, 80), st.integers(1, 20), st.integers(0, 2**32))
def test_calibration_error_against_a_loop(classes, rows, bins, seed):
    probabilities, labels = predictions(rows, classes, seed)
    expected = 0.0
    for lower in range(bins):
        mine = [
            (row.max(), row.argmax() == y)
            for row, y in zip(probabilities, labels, strict=True)
            if lower / bins < row.max() <= (lower + 1) / bins
        ]
        if mine:
            confidence, correct = np.mean(mine, axis=0)
            expected += len(mine) / rows * abs(confidence - correct)
    assert expected_calibration_error(probabilities, labels, bins) == pytest.approx(expected)


def test_against_scikit_learn():
    probabilities, labels = predictions(200, 2, 0)
    found = score(probabilities, labels)
    assert found["auc"] == pytest.approx(sklearn_metrics.roc_auc_score(labels, probabilities[:, 1]))
    assert found["brier"] == pytest.approx(sklearn_metrics.brier_score_loss(labels, probabilities[:, 1]))
    assert found["f1"] == pytest.approx(sklearn_metrics.f1_score(labels, probabilities.argmax(axis=1)))


@pytest.mark.parametrize("classes", [2, 3])
def test_a_perfect_classifier(classes):
    labels = np.arange(30) % classes
    found = score(np.eye(classes)[labels], labels)
    assert {found[name] for name in ("accuracy", "auc", "precision", "recall", "f1")} == {1.0}
    assert (found["brier"], found["ece"]) == (0.0, 0.0)


def test_a_bin_of_confidence_holds_its_upper_limit():
    """As in Guo et al. 2017: (0.4, 0.6] holds 0.6, so that one error of 0.5 stands beside a hit of 0.6."""
    probabilities, labels = np.array([[0.5, 0.3, 0.2], [0.6, 0.2, 0.2]]), np.array([1, 0])
    assert expected_calibration_error(probabilities, labels, 5) == pytest.approx(abs(0.5 - 1 + 0.6) / 2)
    certain = np.eye(3)[[0, 1]]
    assert expected_calibration_error(certain, np.array([0, 2]), 5) == pytest.approx(0.5)


# --- classes without rows ------------------------------------------------------------------------------

FOUR = ("auc", "precision", "recall", "f1")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("there", [[0, 1, 2], [1, 3], [0, 2, 4]])
def test_perfect_predictions_of_some_of_five_classes(there):
    labels = np.resize(there, 12)
    found = score(np.eye(5)[labels], labels)
    assert [found[name] for name in ("accuracy", *FOUR)] == [1.0] * 5
    assert (found["brier"], found["ece"]) == (0.0, 0.0)


@given(st.integers(3, 6), st.integers(2, 40), st.integers(0, 2**32))
def test_means_are_over_the_classes_that_have_rows(classes, rows, seed):
    rng = np.random.default_rng(seed)
    probabilities, labels = softmax(rng.normal(size=(rows, classes))), rng.integers(0, 2, rows) * 2
    found, predicted = score(probabilities, labels), probabilities.argmax(axis=1)
    each = {name: [] for name in FOUR}
    for k in sorted(set(labels.tolist())):
        hits = sum(p == y == k for p, y in zip(predicted, labels, strict=True))
        named, true = int((predicted == k).sum()), int((labels == k).sum())
        each["precision"].append(hits / named if named else None)
        each["recall"].append(hits / true)
        each["f1"].append(2 * hits / (named + true))
        if true < rows:
            each["auc"].append(sklearn_metrics.roc_auc_score(labels == k, probabilities[:, k]))
    for name, values in each.items():
        if all(value is None for value in values):
            assert found[name] is None
        else:
            assert found[name] == pytest.approx(np.mean([value or 0.0 for value in values]))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("positive", [0, 1])
def test_only_negatives_leave_nothing_to_find(positive):
    probabilities, _ = predictions(20, 2, 0)
    found = score(probabilities, np.full(20, 1 - positive), positive)
    assert [found[name] for name in FOUR] == [None] * 4
    assert all(0 <= found[name] <= 20 for name in ("accuracy", "brier", "ece", "n"))
    certain = score(np.eye(2)[np.full(20, 1 - positive)], np.full(20, 1 - positive), positive)
    assert certain["accuracy"] == 1.0
    assert [certain[name] for name in FOUR] == [None] * 4


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("classes", [2, 3])
def test_one_class_only_has_no_auc(classes):
    probabilities, _ = predictions(20, classes, 0)
    found = score(probabilities, np.full(20, 1))
    assert found["auc"] is None
    assert all(0 <= value <= 20 for name, value in found.items() if name != "auc")


@pytest.mark.filterwarnings("error")
def test_what_is_never_predicted_has_no_precision():
    found = score(np.tile([0.9, 0.1], (10, 1)), np.arange(10) % 2)
    assert (found["precision"], found["recall"], found["f1"]) == (None, 0.0, 0.0)
    assert found["auc"] == 0.5


@pytest.mark.filterwarnings("error")
def test_a_class_that_is_never_predicted_counts_as_zero_in_a_mean():
    labels = np.arange(12) % 3
    found = score(np.tile([0.8, 0.1, 0.1], (12, 1)), labels)
    assert found["precision"] == pytest.approx(1 / 9)
    assert found["recall"] == pytest.approx(1 / 3)
    assert found["f1"] == pytest.approx(1 / 6)


@given(st.integers(4, 40), st.integers(0, 2**32))
def test_the_positive_class_is_the_one_that_is_named(rows, seed):
    probabilities, labels = predictions(rows, 2, seed)
    first, exchanged = score(probabilities, labels, 0), score(probabilities[:, ::-1], 1 - labels, 1)
    assert first == {name: pytest.approx(value) for name, value in exchanged.items()}
    assert score(probabilities, labels) == score(probabilities, labels, 1)
    precision, recall, f1, _ = sklearn_metrics.precision_recall_fscore_support(
        labels, probabilities.argmax(axis=1), pos_label=0, average="binary", zero_division=np.nan
    )
    wanted = [None if np.isnan(value) else pytest.approx(value) for value in (precision, recall, f1)]
    assert [first[name] for name in FOUR[1:]] == wanted


def test_softmax_of_large_logits():
    probabilities = softmax(np.array([[1e4, 0, -1e4], [-1e30, -1e30, -1e30]], dtype=np.float32))
    np.testing.assert_allclose(probabilities, [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]])
    assert probabilities.dtype == np.float64


def test_values_are_plain_numbers():
    found = score(*predictions(20, 3, 0))
    assert {type(value) for value in found.values()} == {float, int}


@given(
    scores=st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]), min_size=2, max_size=30),
    flips=st.integers(0, 2**30),
)
def test_the_area_is_that_of_scikit_learn_ties_or_not(scores, flips):
    positive = np.array([flips >> n & 1 for n in range(len(scores))], bool)
    positive[0], positive[-1] = True, False
    expected = sklearn_metrics.roc_auc_score(positive, scores)
    assert area_under_roc(positive, np.array(scores)) == pytest.approx(expected, abs=1e-12)
