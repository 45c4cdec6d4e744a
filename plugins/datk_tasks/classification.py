"""Classes, each sample of one."""

from typing import Any, ClassVar

import numpy.typing as npt
from torch import Tensor
from torch.nn import functional as F

from datk.interfaces import DataError, Metric, PairInfo, Task
from datk_tasks.metrics import score, softmax


class Classification(Task):
    """Every sample is of one of K classes; cross-entropy of the softmax of K logits.

    With two classes precision, recall, F1 and AUC are those of the positive class, which `pair.positive`
    names; see `datk_tasks.metrics.score`.
    """

    predicts_classes = True
    metrics: ClassVar = {
        "accuracy": Metric("accuracy"),
        "auc": Metric("AUC"),
        "precision": Metric("precision"),
        "recall": Metric("recall"),
        "f1": Metric("F1"),
        "brier": Metric("Brier", more_is_better=False),
        "ece": Metric("ECE", more_is_better=False),
    }

    positive: int | None = None
    """Number of the positive class, of two."""

    def outputs(self, pair: PairInfo) -> int:
        """One logit for each class. Raises `DataError` for a pair whose labels are numbers."""
        if not pair.classes:
            raise DataError("the labels are numbers, not classes; set task=regression to predict them")
        self.positive = pair.positive
        return len(pair.classes)

    def check(self, labels: npt.NDArray[Any], pair: PairInfo) -> None:
        """Raises `DataError` for labels that are no class numbers."""
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise DataError(
                f"labels must be class numbers [N], not {labels.dtype} of shape {list(labels.shape)}"
            )
        if labels.min() < 0 or labels.max() >= len(pair.classes):
            raise DataError(
                f"labels must lie in 0..{len(pair.classes) - 1}, the numbers of {len(pair.classes)} classes"
            )

    def encode(self, labels: Tensor) -> Tensor:
        """Class numbers, int64."""
        return labels.long()

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of each row [B], of logits [B, K] and classes [B]."""
        return F.cross_entropy(outputs, labels, reduction="none")

    def score(self, outputs: Tensor, labels: Tensor) -> dict[str, float | int | None]:
        """See `datk_tasks.metrics.score`."""
        return score(softmax(outputs.numpy()), labels.numpy(), self.positive)

    def headline(self, outputs: Tensor, labels: Tensor) -> float:
        """Accuracy."""
        return float((outputs.argmax(dim=1) == labels).double().mean())
