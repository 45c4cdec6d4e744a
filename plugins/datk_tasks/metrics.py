"""Metrics of a classifier, from its logits and the true classes; of a regression, from its numbers."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Metrics = dict[str, float | int | None]


def softmax(logits: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Probabilities [N, K] of logits [N, K]."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities: npt.NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities


def score(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], positive: int | None = None
) -> Metrics:
    """Accuracy, AUC, precision, recall, F1, Brier score and expected calibration error.

    With two classes precision, recall, F1 and AUC are those of the positive class, and the Brier score is the
    mean of (p - y)^2. With more, the former are unweighted means over the classes that have rows (AUC of one
    against the rest), and the Brier score is the mean over rows of the squared distance between probabilities
    and one-hot labels (Brier 1950). What is not defined is None: all four of classes without rows, AUC where
    all rows are of one class, precision where no such class is predicted. Beside others in a mean, a class
    that has rows but is never predicted has precision 0.

    Args:
        probabilities: [N, K], rows adding up to 1; N is 1 at least.
        labels: [N], the true classes 0..K-1.
        positive: of two classes; the second if not given.
    """
    classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    binary = classes == 2
    true, named = (np.bincount(of_rows, minlength=classes) for of_rows in (labels, predicted))
    hits = np.bincount(labels[predicted == labels], minlength=classes)
    wanted = [1 if positive is None else positive] if binary else range(classes)
    there = [k for k in wanted if true[k]]
    areas = [area_under_roc(labels == k, probabilities[:, k]) for k in there if true[k] < len(labels)]
    squares = (probabilities - np.eye(classes)[labels]) ** 2
    return {
        "accuracy": float((predicted == labels).mean()),
        "auc": float(np.mean(areas)) if areas else None,
        "precision": _mean_ratio(hits[there], named[there]),
        "recall": _mean_ratio(hits[there], true[there]),
        "f1": _mean_ratio(2 * hits[there], named[there] + true[there]),
        "brier": float(squares.sum(axis=1).mean() / (2 if binary else 1)),
        "ece": expected_calibration_error(probabilities, labels),
        "n": len(labels),
    }


def area_under_roc(positive: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]) -> float:
    """Share of the pairs of a positive and a negative row in which the positive one has the larger score [N],
    where equal ones count half: the statistic of Mann & Whitney 1947. There must be rows of both kinds.

    Of the ranks, and not scikit-learn's, which takes longer to import than a small network to train.
    """
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    ones = int(positive.sum())
    above = float(ranks[positive].sum()) - ones * (ones + 1) / 2
    return above / (ones * (len(positive) - ones))


def _mean_ratio(parts: npt.NDArray[np.int64], wholes: npt.NDArray[np.int64]) -> float | None:
    """Mean of parts / wholes, where 0 of 0 is 0; None if there is nothing else."""
    if not wholes.any():
        return None
    return float((parts / np.maximum(wholes, 1)).mean())


def expected_calibration_error(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over equal-width bins of confidence, weighted by their rows
    (Guo et al. 2017, equation 3). As there, a bin holds its upper limit and not its lower one."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    limits = np.arange(1, bins + 1) / bins
    bin_of = np.minimum(np.searchsorted(limits, confidence, side="left"), bins - 1)
    gaps = np.bincount(bin_of, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def score_numbers(
    predicted: npt.NDArray[np.float64], labels: npt.NDArray[np.float64], names: Sequence[str] = ()
) -> Metrics:
    """R², mean absolute and root mean squared error, the latter two in the units of the labels.

    R² = 1 - sum (y - p)^2 / sum (y - mean y)^2 with the mean of the very labels that are scored: 1 is
    perfect, 0 is what their mean would get, below 0 is worse than that. It is None where the labels are all
    the same, as a single one always is. With several numbers `r2`, `mae` and `rmse` are unweighted means over
    them, which for the errors means something only if all have one unit, and `r2 NAME`, `mae NAME` and
    `rmse NAME` are those of each; the mean R² is None if one of them is.

    Args:
        predicted: [N, T].
        labels: [N, T], the true numbers.
        names: of the T numbers.
    """
    columns = zip(predicted.T, labels.T, strict=True)
    each = [
        {"r2": r2(p, y), "mae": float(np.abs(p - y).mean()), "rmse": _root_mean_square(p - y)}
        for p, y in columns
    ]
    found: Metrics = {}
    for name in each[0]:
        values = [value for of_one in each if (value := of_one[name]) is not None]
        found[name] = float(np.mean(values)) if len(values) == len(each) else None
    if len(each) > 1:
        for target, of_one in zip(names, each, strict=True):
            found |= {f"{name} {target}": value for name, value in of_one.items()}
    return found | {"n": len(labels)}


def r2(predicted: npt.NDArray[np.float64], labels: npt.NDArray[np.float64]) -> float | None:
    """Coefficient of determination of predictions [N] for labels [N], see `score_numbers`."""
    if labels.min() == labels.max():  # a difference from the mean would be rounding
        return None
    # In units of the largest deviation, so that no square is too large or too small for float64.
    deviations = labels - labels.mean()
    unit = np.abs(deviations).max()
    value = float(1 - np.sum(((labels - predicted) / unit) ** 2) / np.sum((deviations / unit) ** 2))
    return value if math.isfinite(value) else None


def _root_mean_square(errors: npt.NDArray[np.float64]) -> float:
    largest = float(np.abs(errors).max())
    return largest * math.sqrt(np.mean((errors / largest) ** 2)) if largest else 0.0
