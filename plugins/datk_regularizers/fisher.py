"""Fisher loss: features of a class near its centre, centres far from each other."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from datk.interfaces import ModelInfo, ParamGroup, Regularizer, SourceView, Step, TargetView, TermConfig

SMALLEST, LARGEST = 1e-12, 1e12


def within_scatter(features: Tensor, labels: Tensor, centres: Tensor) -> Tensor:
    """sum_i |f_i - c_(y_i)|^2 of features [B, D], labels [B] and centres [K, D]; 0-d.

    A sum over the batch, so it grows with B. The squared distance of a row is clamped to
    [1e-12, 1e12], outside of which it has no gradient.
    """
    # By a product: the gradient of indexing adds up row by row, slowly where it has to be deterministic.
    own = labels[:, None] == torch.arange(len(centres), device=labels.device)
    return (features - own.to(features.dtype) @ centres).square().sum(dim=1).clamp(SMALLEST, LARGEST).sum()


def between_scatter(centres: Tensor) -> Tensor:
    """sum_k |c_k - mean c|^2 of centres [K, D]; 0-d."""
    return (centres - centres.mean(dim=0)).square().sum()


def trace_ratio(
    features: Tensor, labels: Tensor, centres: Tensor, within: float = 0.01, between: float = 1.0
) -> Tensor:
    """within * within_scatter / (between * between_scatter); 0-d. Only within / between matters."""
    scatter = within_scatter(features, labels, centres)
    return within * scatter / (between * between_scatter(centres))


def trace_difference(
    features: Tensor, labels: Tensor, centres: Tensor, within: float = 0.01, between: float = 1.0
) -> Tensor:
    """within * within_scatter - between * between_scatter; 0-d, without lower bound."""
    return within * within_scatter(features, labels, centres) - between * between_scatter(centres)


FORMS = {"ratio": trace_ratio, "difference": trace_difference}


class Fisher(Regularizer):
    """Fisher loss: draws source features to learned centres of their classes and the centres apart.

    The centres are parameters, drawn from N(0, 1) and trained with the network. The scatter within the
    classes is a sum over the batch, not a mean, as in the paper's code: with another batch size scale
    `within` accordingly. The `ratio` has no scale of its own; the `difference` has no lower bound, so
    that nothing but the optimiser keeps the centres from running away.

    Reference: Zhang et al. 2020, arXiv:2003.05636; Ciprijanovic et al. 2021, "DeepMerge II", MNRAS 506, 677.
    """

    needs_target = False
    needs_classes = True
    over_batch = True

    class Config(TermConfig):
        """Options of the Fisher loss."""

        form: Literal["ratio", "difference"] = "ratio"
        """Scatter within the classes divided by that between the centres (trace ratio), or minus it (trace
        difference)."""

        within: float = Field(0.01, gt=0)
        """Factor of the scatter of the features within their classes."""

        between: float = Field(1.0, gt=0)
        """Factor of the scatter of the centres; a ratio with 0 would not be a number."""

        centre_lr_mult: float = Field(10.0, gt=0)
        """Factor on the learning rate of the centres."""

    def __init__(self, config: Config, model: ModelInfo) -> None:
        super().__init__(config, model)
        self.centres = nn.Parameter(torch.randn(len(model.classes), model.feature_dim))

    def forward(self, source: SourceView, target: TargetView, step: Step) -> Tensor:
        """Trace ratio or trace difference of the source's features."""
        loss = FORMS[self.config.form]
        return loss(source.features, source.labels, self.centres, self.config.within, self.config.between)

    def param_groups(self) -> list[ParamGroup]:
        """The centres, with their own learning rate."""
        return [ParamGroup([self.centres], lr_mult=self.config.centre_lr_mult)]
