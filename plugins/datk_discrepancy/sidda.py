"""Sinkhorn alignment whose weight against the classification is learned."""

import torch
from pydantic import Field
from torch import Tensor, nn

from datk.interfaces import AlignmentLoss, ModelInfo, ParamGroup, SourceView, Step, TargetView, TermConfig
from datk.nn import sinkhorn_divergence

SMALLEST_BLUR = 0.01
LEAST, RATIO = 1e-3, 0.25
"""eta_1 is at least 1e-3, and eta_2 at least a quarter of it, as in the authors' code."""


def adaptive_blur(source: Tensor, target: Tensor, share: float) -> Tensor:
    """`share` of the largest distance between two rows of source [M, D] and target [N, D], at least 0.01;
    0-d, without gradient."""
    rows = torch.cat([source, target]).detach()
    return (share * torch.cdist(rows, rows).max()).clamp_min(SMALLEST_BLUR)


class SIDDA(AlignmentLoss):
    """SIDDA: Sinkhorn divergence of the features, weighed against classification by learned uncertainties.

    The loss is CE / (2 eta_1^2) + S / (2 eta_2^2) + ln(eta_1 eta_2), with the debiased Sinkhorn divergence S
    whose blur is a share of the features' diameter. Both eta start at 1 and are learned with the network,
    without weight decay (the authors' optimiser decays them, too). They are kept from vanishing as in the
    authors' code, but where they are used, not before a step. During `warmup` epochs the classification
    alone is trained. Both are logged.

    Reference: Pandya et al. 2025, "SIDDA: SInkhorn Dynamic Domain Adaptation", arXiv:2501.14048.
    """

    over_batch = True

    class Config(TermConfig):
        """Options of SIDDA."""

        warmup: int = Field(5, ge=0)
        """Epochs before the alignment sets in."""

        blur: float = Field(0.05, gt=0, le=1)
        """Blur of the transport as a share of the largest distance between two features of a batch."""

        scaling: float = Field(0.9, gt=0, lt=1)
        """Factor between one blur and the next while Sinkhorn's algorithm sharpens."""

    def __init__(self, config: Config, model: ModelInfo) -> None:
        super().__init__(config, model)
        self.etas = nn.Parameter(torch.ones(2))

    def _etas(self) -> tuple[Tensor, Tensor]:
        """eta_1 and eta_2, kept from vanishing."""
        first = self.etas[0].clamp_min(LEAST)
        return first, torch.maximum(self.etas[1], RATIO * first.detach())

    def _aligns(self, step: Step) -> Tensor:
        """1 once the warm-up is over, 0 before."""
        return step.epoch.ge(self.config.warmup).float()

    def supervision(self, losses: Tensor, source: SourceView, target: TargetView, step: Step) -> Tensor:
        """CE / (2 eta_1^2); the plain mean during the warm-up."""
        first, _ = self._etas()
        aligns = self._aligns(step)
        return losses.mean() * (aligns / (2 * first.square()) + (1 - aligns))

    def forward(self, source: SourceView, target: TargetView, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """S / (2 eta_2^2) + ln(eta_1 eta_2); 0 during the warm-up."""
        first, second = self._etas()
        blur = adaptive_blur(source.features, target.features, self.config.blur)
        divergence = sinkhorn_divergence(source.features, target.features, blur, self.config.scaling)
        value = divergence / (2 * second.square()) + (first * second).log()
        return self._aligns(step) * value, {"eta_1": first, "eta_2": second, "divergence": divergence}

    def param_groups(self) -> list[ParamGroup]:
        """The two uncertainties, without weight decay."""
        return [ParamGroup([self.etas], weight_decay=0.0)]
