"""The one selector that is given target labels."""

from typing import ClassVar

from torch import Tensor

from datk.interfaces import Outputs, PluginError, Selector


class Oracle(Selector):
    """Best first metric on the target's validation rows, whose labels it is given: an upper bound, no method.

    What it selects could not be selected where target labels are unknown. It has to be asked for by name, and
    every result says so (`uses_target_labels`).
    """

    needs_target: ClassVar = True
    answers: Tensor | None = None
    """Encoded labels of those of the target's validation rows that have one, which `datk.runs` hands over to
    this very class."""
    scored: Tensor | None = None
    """Which rows those are, [N] bool; all if not given."""

    def score(self, source: Outputs, target: Outputs) -> float:
        """The first metric of the task on the target's validation rows; minus their loss where that metric is
        not defined, as R² of labels that are all the same. Raises `PluginError` for a selector that is built
        on this one: it is given no labels."""
        if self.answers is None:
            raise PluginError(
                f"selector {type(self).__name__} is given no target labels; only train.select=oracle is"
            )
        first = next(iter(self.task.metrics.values()))
        logits = target.logits if self.scored is None else target.logits[self.scored]
        value = self.task.headline(logits, self.answers)
        if value is None:
            return -float(self.task.loss(logits.double(), self.answers).mean())
        return value if first.more_is_better else -value
