"""FixMatch: what is known of a target row should be known of it after a strong change."""

import torch
from pydantic import Field
from torch import Tensor

from datk.interfaces import AlignmentLoss, ModelInfo, SourceView, Step, TargetView, TermConfig
from datk.nn import strong_view
from datk_selftraining.consistency import confident_cross_entropy

KEPT = 0.9
"""Share of the averages of predictions that a step leaves as it is."""


def aligned(target: Tensor, source_mean: Tensor, target_mean: Tensor) -> Tensor:
    """Probabilities [B, K] of the target, times the ratio of the domains' mean predictions [K], and scaled to
    sum 1 again, as in AdaMatch (Berthelot et al. 2022)."""
    tiny = torch.finfo(target.dtype).tiny
    scaled = target * (source_mean / target_mean.clamp_min(tiny))
    return scaled / scaled.sum(dim=1, keepdim=True).clamp_min(tiny)


class FixMatch(AlignmentLoss):
    """FixMatch: predictions on strongly changed target rows follow confident ones on the plain rows.

    The weak view is the batch itself, with `train.augment` if that is set; the strong one is made anew in
    every step (`datk.nn.strong_view`) and passes the network beside the source's rows, as the batch did, so
    that batch normalisation treats both views alike. A row whose prediction is below the threshold counts as
    0.

    What is not the paper's: the labelled batch is the source's; views are made for any standardised data in
    place of its RandAugment for photographs; and, by default, predictions are aligned to the source's class
    shares, which the paper names as an extension. Between domains the first confident classes otherwise
    absorb the others. `relative` with `threshold = 0.9` is the pseudo-labelling of AdaMatch, without its
    interpolation of logits.

    Reference: Sohn et al. 2020, "FixMatch", NeurIPS; Berthelot et al. 2022, "AdaMatch", ICLR.
    """

    needs_classes = True

    class Config(TermConfig):
        """Options of FixMatch."""

        threshold: float = Field(0.95, ge=0, le=1)
        """Least probability of a prediction that is learned from."""

        relative: bool = False
        """Whether the threshold is a part of the mean confidence on the source's rows of the batch."""

        align_shares: bool = True
        """Whether the target's predictions are scaled so that classes are predicted, on average over about
        ten steps, as often as in the source; switch it off where the target's class shares are known to
        differ much."""

        strength: float = Field(1.0, ge=0, le=2)
        """How strong the strong views are."""

        symmetries: bool = False
        """Whether strong views are also flipped and turned by quarters, for data to which that does
        nothing."""

    source_mean: Tensor
    target_mean: Tensor

    def __init__(self, config: Config, model: ModelInfo) -> None:
        super().__init__(config, model)
        # Both start at 0, which cancels in their ratio.
        self.register_buffer("source_mean", torch.zeros(model.outputs))
        self.register_buffer("target_mean", torch.zeros(model.outputs))

    def forward(self, source: SourceView, target: TargetView, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy to confident predictions; logs the share of confident rows."""
        assert step.network is not None
        strong = strong_view(target.x, self.config.strength, self.config.symmetries)
        _, logits = step.network(torch.cat([source.x, strong]), torch.cat([source.domain, target.domain]))
        known = source.logits.detach().softmax(dim=1)
        teaching = target.logits.detach().softmax(dim=1)
        if self.config.align_shares:
            self.source_mean.lerp_(known.mean(dim=0), 1 - KEPT)
            self.target_mean.lerp_(teaching.mean(dim=0), 1 - KEPT)
            teaching = aligned(teaching, self.source_mean, self.target_mean)
        scale = known.amax(dim=1).mean() if self.config.relative else 1.0
        value, confident = confident_cross_entropy(
            logits[len(source.x) :], teaching, self.config.threshold * scale
        )
        return value, {"confident": confident}
