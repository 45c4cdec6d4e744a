"""No alignment: what every method has to beat."""

from torch import Tensor

from datk.interfaces import AlignmentLoss, SourceView, Step, TargetView


class SourceOnly(AlignmentLoss):
    """Source-only baseline: trains on the source and never looks at the target."""

    needs_target = False

    def forward(self, source: SourceView, target: TargetView, step: Step) -> Tensor:
        """Zero, with no gradient."""
        return source.features.new_zeros(())
