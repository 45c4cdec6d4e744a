"""Selectors that look at the source's validation rows, and one that looks at nothing."""

import math
from typing import ClassVar

from datk.interfaces import Outputs, Selector


class SourceValidationLoss(Selector):
    """Least loss on the source's validation rows."""

    needs_target: ClassVar = False

    def score(self, source: Outputs, target: Outputs) -> float:
        """Minus the mean loss, in float64."""
        assert source.labels is not None
        return -float(self.task.loss(source.logits.double(), source.labels).mean())


class SourceValidationAccuracy(Selector):
    """Largest accuracy on the source's validation rows."""

    needs_target: ClassVar = False
    needs_classes: ClassVar = True

    def score(self, source: Outputs, target: Outputs) -> float:
        """Accuracy."""
        assert source.labels is not None
        return float(source.logits.argmax(dim=1).eq(source.labels).double().mean())


class Last(Selector):
    """The last epoch, whatever it is worth."""

    needs_target: ClassVar = False
    latest_of_equals: ClassVar = True

    def score(self, source: Outputs, target: Outputs) -> float:
        """The same for every epoch."""
        return math.inf
