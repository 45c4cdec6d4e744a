"""Maximum classifier discrepancy: two heads that find where the target is far from the source."""

import copy

import torch
from pydantic import Field
from torch import Tensor, nn

from datk.interfaces import (
    AlignmentLoss,
    Backbone,
    ModelInfo,
    ParamGroup,
    Phase,
    SourceView,
    Step,
    TargetView,
    TermConfig,
)
from datk.nn import reinitialized, with_head


def discrepancy(logits: Tensor, others: Tensor) -> Tensor:
    """Mean absolute difference of the probabilities of two heads' logits [B, K] each, over rows and classes;
    0-d (Saito et al. 2018, equation 3). The mean over classes is 1/K of the sum, as in the authors' code."""
    return (logits.softmax(dim=1) - others.softmax(dim=1)).abs().mean()


class MCD(AlignmentLoss):
    """Maximum classifier discrepancy (MCD): two heads disagree on the target, and the trunk makes them agree.

    Every step has the paper's three parts on the same batch: (A) trunk and both heads learn the source; (B)
    the heads learn the source and to disagree on the target; (C) the trunk alone, four times, makes them
    agree there. The second head is one like the backbone's with first weights of its own. Both predict: what
    is evaluated is the mean of their logits. Batch normalisation sees both domains at once here, where the
    authors' code passes them one after the other.

    Reference: Saito et al. 2018, "Maximum Classifier Discrepancy for Unsupervised Domain Adaptation", CVPR.
    """

    needs_classes = True
    phases = (
        Phase("source"),
        Phase("disagree", updates=("head", "terms"), regularized=False),
        Phase("agree", updates=("trunk",), supervised=False, regularized=False, repeat=4),
    )

    class Config(TermConfig):
        """Options of maximum classifier discrepancy."""

        head_lr_mult: float = Field(1.0, gt=0)
        """Factor on the learning rate of the second head."""

    second: nn.Module

    def __init__(self, config: Config, model: ModelInfo) -> None:
        super().__init__(config, model)

    def setup(self, backbone: Backbone) -> None:
        """Make the second head."""
        self.second = reinitialized(copy.deepcopy(backbone.head)).train()

    def forward(self, source: SourceView, target: TargetView, step: Step) -> Tensor:
        """The second head's loss on the source, or the discrepancy on the target with its sign in that
        part."""
        if step.phase == "agree":
            return discrepancy(target.logits, self.second(target.features))
        supervised = nn.functional.cross_entropy(self.second(source.features), source.labels)
        if step.phase == "source":
            return supervised
        return supervised - discrepancy(target.logits, self.second(target.features))

    def param_groups(self) -> list[ParamGroup]:
        """The second head."""
        return [ParamGroup(list(self.parameters()), lr_mult=self.config.head_lr_mult)]

    def predictor(self, backbone: Backbone) -> Backbone:
        """The backbone with the mean of both heads."""
        return with_head(backbone, MeanOfHeads(backbone.head, self.second))


class MeanOfHeads(nn.Module):
    """Mean of the outputs of several heads."""

    def __init__(self, *heads: nn.Module) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def forward(self, features: Tensor) -> Tensor:
        """Mean logits [B, K] of features [B, D]."""
        return torch.stack([head(features) for head in self.heads]).mean(dim=0)
