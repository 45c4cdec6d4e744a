"""Adversarial alignment of features together with predictions."""

import math
from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn.functional import log_softmax

from datk.interfaces import AlignmentLoss, ModelInfo, ParamGroup, SourceView, Step, TargetView, TermConfig
from datk.nn import joined, ramp, reverse_gradient
from datk_adversarial.dann import RAMP_OF_REVERSAL, Hidden, Weights, domain_classifier, domain_loss

LARGEST_PRODUCT = 4096
"""Length D K of the product of features and predictions from which on random projections stand in for it, as
in the paper."""


def multilinear(features: Tensor, predictions: Tensor) -> Tensor:
    """Products f_a p_k of features [B, D] and predictions [B, K]: [B, D K] (Long et al. 2018, section
    3.2)."""
    return (predictions[:, :, None] * features[:, None, :]).flatten(1)


def randomized(features: Tensor, predictions: Tensor, of_features: Tensor, of_predictions: Tensor) -> Tensor:
    """(f R_f) * (p R_p) / sqrt(d) with random matrices R_f [D, d] and R_p [K, d]: [B, d], whose scalar
    products are on average those of `multilinear` (Long et al. 2018, section 3.2)."""
    return (features @ of_features) * (predictions @ of_predictions) / math.sqrt(of_features.shape[1])


def entropy_weights(logits: Tensor) -> Tensor:
    """1 + exp(-H(p)) of each row of logits [B, K], scaled to mean 1; [B], without gradient.

    Rows that are easy to classify count more (Long et al. 2018, section 3.3).
    """
    log_p = log_softmax(logits.detach(), dim=1)
    weights = 1 + (log_p.exp() * log_p).sum(dim=1).exp()
    return weights / weights.mean()


class CDAN(AlignmentLoss):
    """CDAN: features and predictions, taken together, that a domain classifier cannot tell apart.

    As DANN, but the classifier sees the product of the features with the predicted probabilities, so that
    classes are aligned with classes. Where that product is longer than 4096, random projections to 1024
    stand in for it, as in the paper; they are 1024 (D + K) numbers for D features and K classes. With
    `entropy = true`, which the paper calls CDAN+E, rows with confident predictions count more. The growth of
    the reversed gradient, `hidden`, `dropout` and `projected` are those of the authors' code, which also
    stops the gradient of the probabilities, so that only the features are to fool the classifier, and for
    digits passes both domains at once, so that batch normalisation sees them together.

    Not the authors': the classifier's first weights are those of `dann`; weights of CDAN+E have no gradient;
    each domain counts alike, whatever its rows. Their learning rate of new layers is ten times that of a
    pretrained trunk (`lr_mult`).

    Reference: Long et al. 2018, "Conditional Adversarial Domain Adaptation", NeurIPS.
    """

    needs_classes = True

    class Config(TermConfig):
        """Options of conditional adversarial alignment."""

        entropy: bool = False
        """Whether rows are weighed by the certainty of their predictions (CDAN+E)."""

        randomized: Literal["auto", "never", "always"] = "auto"
        """Whether random projections stand in for the whole product of features and predictions; auto: where
        that is longer than 4096."""

        projected: PositiveInt = 1024
        """Length of the random projections."""

        reversal: Literal["constant", "ganin"] = "ganin"
        """How the reversed gradient grows over training: at once, or as 2 / (1 + exp(-10 p)) - 1 with the
        progress p from 0 to 1."""

        coefficient: float = Field(1.0, ge=0)
        """Factor of the reversed gradient, at the end of its growth."""

        hidden: Hidden = (1024, 1024)
        """Sizes of the domain classifier's hidden layers; auto is one as wide as what it sees, between 16 and
        1024."""

        dropout: float = Field(0.5, ge=0, lt=1)
        """Probability that an output of a hidden layer is dropped in training."""

        lr_mult: float = Field(1.0, gt=0)
        """Factor on the learning rate of the domain classifier."""

    of_features: Tensor
    of_predictions: Tensor

    def __init__(self, config: Config, model: ModelInfo) -> None:
        super().__init__(config, model)
        size = model.feature_dim * model.outputs
        self.projects = config.randomized == "always" or (
            config.randomized == "auto" and size > LARGEST_PRODUCT
        )
        if self.projects:
            size = config.projected
            self.register_buffer("of_features", torch.randn(model.feature_dim, size))
            self.register_buffer("of_predictions", torch.randn(model.outputs, size))
        self.classifier = domain_classifier(size, config.hidden, config.dropout)
        # Weights are scaled over the rows of a domain, so that halves of a batch weigh otherwise.
        self.over_batch = config.entropy

    def forward(self, source: SourceView, target: TargetView, step: Step) -> Tensor:
        """Loss of the domain classifier, whose gradient is reversed for the features."""
        growth = ramp(RAMP_OF_REVERSAL[self.config.reversal], step.progress)
        features = reverse_gradient(joined(source, target), self.config.coefficient * growth)
        predictions = torch.cat([source.logits, target.logits]).detach().softmax(dim=1)
        if self.projects:
            seen = randomized(features, predictions, self.of_features, self.of_predictions)
        else:
            seen = multilinear(features, predictions)
        of_source, of_target = self.classifier(seen).split([len(source.features), len(target.features)])
        weights: Weights = (source.weights, None)
        if self.config.entropy:
            certain = entropy_weights(source.logits)
            certain = certain if source.weights is None else certain * source.weights
            weights = (certain, entropy_weights(target.logits))
        return domain_loss(of_source, of_target, weights)

    def param_groups(self) -> list[ParamGroup]:
        """The domain classifier, with its own learning rate."""
        return [ParamGroup(list(self.parameters()), lr_mult=self.config.lr_mult)]
