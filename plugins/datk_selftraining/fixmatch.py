"""FixMatch: what is known of a target row should be known of it after a strong change."""

from pydantic import Field
from torch import Tensor

from datk.interfaces import AlignmentLoss, SourceView, Step, TargetView, TermConfig
from datk.nn import strong_view
from datk_selftraining.consistency import confident_cross_entropy


class FixMatch(AlignmentLoss):
    """FixMatch: predictions on strongly changed target rows follow confident ones on the plain rows.

    The weak view is the batch itself, with `train.augment` if that is set; the strong one is made anew in
    every step (`datk.nn.strong_view`). A row whose prediction is below the threshold counts as 0. As the
    target is not labelled at all, both the labelled batch of the paper and its loss are those of the source.
    The paper's RandAugment works on 8-bit photographs; these views work on any standardised data.

    Reference: Sohn et al. 2020, "FixMatch", NeurIPS.
    """

    needs_classes = True

    class Config(TermConfig):
        """Options of FixMatch."""

        threshold: float = Field(0.95, ge=0, le=1)
        """Least probability of a prediction that is learned from."""

        strength: float = Field(1.0, ge=0, le=2)
        """How strong the strong views are."""

        symmetries: bool = False
        """Whether strong views are also flipped and turned by quarters, for data to which that does
        nothing."""

    def forward(self, source: SourceView, target: TargetView, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy to confident predictions; logs the share of confident rows."""
        assert step.network is not None
        strong = strong_view(target.x, self.config.strength, self.config.symmetries)
        _, logits = step.network(strong, target.domain)
        value, confident = confident_cross_entropy(logits, target.logits, self.config.threshold)
        return value, {"confident": confident}
