"""Alignment by a domain classifier that the features are to fool."""

from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from datk.interfaces import (
    AlignmentLoss,
    ModelInfo,
    ParamGroup,
    Ramp,
    SourceView,
    Step,
    TargetView,
    TermConfig,
)
from datk.nn import joined, mlp, ramp, reverse_gradient

RAMP_OF_REVERSAL = {"constant": "constant", "ganin": "dann"}

Hidden = tuple[PositiveInt, ...] | Literal["auto"]

Weights = tuple[Tensor | None, Tensor | None]
"""Of the rows of source [M] and target [N], each of mean 1; None if all count alike."""


def domain_loss(source_logits: Tensor, target_logits: Tensor, weights: Weights = (None, None)) -> Tensor:
    """Binary cross-entropy of a classifier's logits [M, 1] and [N, 1] for source = 1 and target = 0; 0-d.

    The mean over each domain, then over the two, so that unequal batches count alike; for M = N this is
    the mean over all rows.
    """
    of_source, of_target = logsigmoid(source_logits), logsigmoid(-target_logits)
    if weights[0] is not None:
        of_source = weights[0][:, None] * of_source
    if weights[1] is not None:
        of_target = weights[1][:, None] * of_target
    return -(of_source.mean() + of_target.mean()) / 2


def domain_classifier(features: int, hidden: Hidden, dropout: float) -> nn.Sequential:
    """Perceptron from features [B, D] to one logit [B, 1]: weights N(0, 0.01), the last layer's
    N(0, 0.3), zero biases.

    hidden: sizes of the hidden layers, or `auto` for one as wide as the features, between 16 and 1024.
    """
    if hidden == "auto":
        hidden = (min(max(features, 16), 1024),)
    classifier = mlp([features, *hidden, 1], dropout)
    linear = [layer for layer in classifier if isinstance(layer, nn.Linear)]
    for layer in linear:
        nn.init.normal_(layer.weight, std=0.3 if layer is linear[-1] else 0.01)
        nn.init.zeros_(layer.bias)
    return classifier


class DANN(AlignmentLoss):
    """Domain-adversarial training (DANN): features that a domain classifier cannot tell apart.

    The classifier learns to tell the domains apart; on the way back into the backbone its gradient is
    reversed, times a coefficient. `weight` and `ramp` act on what reaches the backbone, as the coefficient
    does; the classifier always learns from the whole loss. That of DeepMerge II has two hidden layers of 1024
    and acts fully from the start (`hidden = [1024, 1024]`, `weight = 1`, `ramp = constant`).

    Reference: Ganin et al. 2016, JMLR 17, 59; Ciprijanovic et al. 2021, "DeepMerge II", MNRAS 506, 677.
    """

    class Config(TermConfig):
        """Options of domain-adversarial training."""

        reversal: Literal["constant", "ganin"] = "constant"
        """How the reversed gradient grows over training: at once, or as 2 / (1 + exp(-10 p)) - 1 with the
        progress p from 0 to 1."""

        coefficient: float = Field(1.0, ge=0)
        """Factor of the reversed gradient, at the end of its growth."""

        hidden: Hidden = "auto"
        """Sizes of the domain classifier's hidden layers; auto is one as wide as the features, between 16 and
        1024."""

        dropout: float = Field(0.5, ge=0, lt=1)
        """Probability that an output of a hidden layer is dropped in training."""

        lr_mult: float = Field(1.0, gt=0)
        """Factor on the learning rate of the domain classifier."""

        weight: float = Field(0.1, ge=0)
        """Factor with which the term acts on the backbone; the domain classifier follows the whole term."""

        ramp: Ramp = "warm-up"
        """How the weight grows over training, as of every term; by default after a warm-up, so that the
        network knows the source first."""

        former: ClassVar[dict[str, Any]] = {"hidden": (1024, 1024), "ramp": "constant", "weight": 1.0}

    def __init__(self, config: Config, model: ModelInfo) -> None:
        super().__init__(config, model)
        self.classifier = domain_classifier(model.feature_dim, config.hidden, config.dropout)

    def forward(self, source: SourceView, target: TargetView, step: Step) -> Tensor:
        """Loss of the domain classifier, whose gradient is reversed for the features."""
        growth = ramp(RAMP_OF_REVERSAL[self.config.reversal], step.progress)
        features = reverse_gradient(joined(source, target), self.config.coefficient * growth)
        logits = self.classifier(features)
        of_source, of_target = logits.split([len(source.features), len(target.features)])
        return domain_loss(of_source, of_target, (source.weights, None))

    def param_groups(self) -> list[ParamGroup]:
        """The domain classifier, with its own learning rate."""
        return [ParamGroup(list(self.parameters()), lr_mult=self.config.lr_mult)]
