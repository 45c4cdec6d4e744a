"""Metrics of a classifier from its logits and the true classes."""

from typing import Any

import numpy as np
import numpy.typing as npt

Metrics = dict[str, float | int | None]


def softmax(logits: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Probabilities [N, K] of logits [N, K]."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities: npt.NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities


def score(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> Metrics:
    """Accuracy, AUC, precision, recall, F1, Brier score and expected calibration error.

    With two classes the second is the positive one, and the Brier score is the mean of (p - y)^2. With more,
    AUC (one against the rest), precision, recall and F1 are unweighted means over the classes, and the Brier
    score is the mean over rows of the squared distance between probabilities and one-hot labels (Brier 1950).
    AUC is None where a class of the model has no row.

    Args:
        probabilities: [N, K], rows adding up to 1.
        labels: [N], the true classes 0..K-1.
    """
    from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

    classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    binary = classes == 2
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels,
        predicted,
        labels=list(range(classes)),
        average="binary" if binary else "macro",
        zero_division=0,
    )
    auc = None
    if len(np.unique(labels)) == classes:
        scores = probabilities[:, 1] if binary else probabilities
        auc = float(roc_auc_score(labels, scores, multi_class="ovr"))
    squares = (probabilities - np.eye(classes)[labels]) ** 2
    return {
        "accuracy": float((predicted == labels).mean()),
        "auc": auc,
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "brier": float(squares.sum(axis=1).mean() / (2 if binary else 1)),
        "ece": expected_calibration_error(probabilities, labels),
        "n": len(labels),
    }


def expected_calibration_error(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over equal-width bins of confidence, weighted by their rows
    (Guo et al. 2017, equation 3)."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_of, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))
