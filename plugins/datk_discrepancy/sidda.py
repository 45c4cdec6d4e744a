"""Sinkhorn alignment whose weight against the classification is learned."""

import torch
from pydantic import Field
from torch import Tensor, nn

from datk.interfaces import (
    AlignmentLoss,
    Backbone,
    ModelInfo,
    ParamGroup,
    SourceView,
    Step,
    TargetView,
    TermConfig,
)
from datk.nn import joint_distances, sinkhorn_divergence_of_distances

SMALLEST_BLUR = 0.01
LEAST, RATIO = 1e-3, 0.25
"""eta1 is at least 1e-3, and eta2 at least a quarter of it, as in the authors' code."""


def adaptive_blur(distances: Tensor, m: int, share: float) -> Tensor:
    """`share` of the largest distance between a source and a target row, at least 0.01; 0-d, without
    gradient.

    distances: squared ones [M + N, M + N] of all rows, the first M of the source.
    """
    return (share * distances[:m, m:].detach().max().sqrt()).clamp_min(SMALLEST_BLUR)


class SIDDA(AlignmentLoss):
    """SIDDA: Sinkhorn divergence of the features, weighed against classification by learned uncertainties.

    The loss is CE / (2 eta1^2) + S / (2 eta2^2) + ln |eta1 eta2| (after Kendall et al. 2018), with the
    debiased Sinkhorn divergence S, whose blur is a share of the largest distance between the domains'
    features. Both eta start at 1 and learn with the network's learning rate. During `warmup` epochs the
    classification alone is trained, and they stay where they are; a run that is no longer than that is never
    aligned.

    What differs from the authors' code: the eta have no weight decay, which would drag them to 0 and so
    raise both weights, already in the warm-up; they are held above their bounds after each step, not before
    it, so that no step sees them below; the target's rows pass through the network during the warm-up, so
    that batch normalisation knows them from the start.

    eta1, eta2 and S are logged. `weight` and `ramp` act on the pull on the features, not on what the eta
    learn.

    Reference: Pandya et al. 2025, "SIDDA: SInkhorn Dynamic Domain Adaptation", arXiv:2501.14048.
    """

    over_batch = True

    class Config(TermConfig):
        """Options of SIDDA."""

        warmup: int = Field(5, ge=0)
        """Epochs before the alignment sets in."""

        blur: float = Field(0.05, ge=0.01, le=1)
        """Blur of the transport as a share of the largest distance between a source and a target feature of a
        batch; it is never less than 0.01."""

        scaling: float = Field(0.9, ge=0.1, le=0.99)
        """Factor between one blur and the next while Sinkhorn's algorithm sharpens; nearer to 1 is slower and
        more exact."""

        lr_mult: float = Field(1.0, gt=0)
        """Factor on the learning rate of eta1 and eta2."""

    def __init__(self, config: Config, model: ModelInfo) -> None:
        super().__init__(config, model)
        self.eta1 = nn.Parameter(torch.ones(()))
        self.eta2 = nn.Parameter(torch.ones(()))

    def supervision(self, losses: Tensor, source: SourceView, target: TargetView, step: Step) -> Tensor:
        """CE / (2 eta1^2) + ln |eta1|; CE alone during the warm-up."""
        loss = losses.mean()
        return torch.where(self._warms_up(step), loss, _weighed(loss, self.eta1))

    def forward(self, source: SourceView, target: TargetView, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """S / (2 eta2^2) + ln |eta2|; 0 during the warm-up."""
        distances, m = joint_distances(source, target), len(source.features)
        blur = adaptive_blur(distances, m, self.config.blur)
        divergence = sinkhorn_divergence_of_distances(distances, m, blur, self.config.scaling)
        value = torch.where(self._warms_up(step), 0.0, _weighed(divergence, self.eta2))
        return value, {"eta1": self.eta1, "eta2": self.eta2, "divergence": divergence}

    def after_step(self, backbone: Backbone) -> None:
        """Hold eta1 and eta2 above their bounds."""
        self.eta1.clamp_(min=LEAST)
        self.eta2.copy_(torch.maximum(self.eta2, RATIO * self.eta1))

    def param_groups(self) -> list[ParamGroup]:
        """eta1 and eta2, without weight decay."""
        return [ParamGroup([self.eta1, self.eta2], lr_mult=self.config.lr_mult, weight_decay=0.0)]

    def _warms_up(self, step: Step) -> Tensor:
        return step.epoch.lt(self.config.warmup)


def _weighed(loss: Tensor, eta: Tensor) -> Tensor:
    """Of a loss with learned uncertainty eta (Kendall et al. 2018)."""
    return loss / (2 * eta.square()) + eta.abs().log()
