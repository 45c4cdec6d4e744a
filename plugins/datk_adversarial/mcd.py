"""Maximum classifier discrepancy: two heads that find where the target is far from the source."""

import copy

import torch
from pydantic import Field, PositiveInt
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
from datk.nn import joined, reinitialized, with_head


def discrepancy(logits: Tensor, others: Tensor) -> Tensor:
    """Mean absolute difference of the probabilities of two heads' logits [B, K] each, over rows and classes;
    0-d, from 0 to 2/K.

    The mean over classes is the definition of the paper (Saito et al. 2018, section 3.2) and of its code; it
    is 1/K of the L1 distance, so that with many classes it pulls less beside the loss on the source.
    """
    return (logits.softmax(dim=1) - others.softmax(dim=1)).abs().mean()


class MCD(AlignmentLoss):
    """Maximum classifier discrepancy (MCD): two heads disagree on the target, and the trunk makes them agree.

    Every step has the paper's three parts on the same batch: (A) trunk and both heads learn the source; (B)
    the heads learn the source and to disagree on the target; (C) the trunk alone, `num_k` times, makes them
    agree there, so that a step costs as much as six. The second head is one like the backbone's with first
    weights of its own. Both predict: what is evaluated is the mean of their logits.

    `weight` scales what the second head and the discrepancy do to the backbone. Not the paper's: in all three
    parts both domains pass the network, so that batch normalisation sees them at once and regularizers act in
    part A as ever; the authors' code passes the source alone in A, one domain after the other in B, and the
    target alone in C. It trains with Adam, a learning rate of 2e-4 and a weight decay of 5e-4.

    Reference: Saito et al. 2018, "Maximum Classifier Discrepancy for Unsupervised Domain Adaptation", CVPR.
    """

    needs_classes = True
    phases: tuple[Phase, ...] = (
        Phase("source"),
        Phase("disagree", updates=("head", "terms"), regularized=False),
        Phase("agree", updates=("trunk",), supervised=False, regularized=False, repeat=4),
    )

    class Config(TermConfig):
        """Options of maximum classifier discrepancy."""

        num_k: PositiveInt = 4
        """How often part C, in which the trunk makes the heads agree, runs for each batch."""

        head_lr_mult: float = Field(1.0, gt=0)
        """Factor on the learning rate of the second head."""

    second: nn.Module

    def __init__(self, config: Config, model: ModelInfo) -> None:
        super().__init__(config, model)
        *others, agree = self.phases
        self.phases = (*others, agree._replace(repeat=config.num_k))

    def setup(self, backbone: Backbone) -> None:
        """Make the second head."""
        self.second = reinitialized(copy.deepcopy(backbone.head)).train()

    def forward(self, source: SourceView, target: TargetView, step: Step) -> Tensor:
        """The second head's loss on the source, or the discrepancy on the target with its sign in that
        part."""
        # Of both domains at once, as the backbone's head sees them, should it normalise batches.
        logits = self.second(joined(source, target))
        of_source, of_target = logits.split([len(source.features), len(target.features)])
        if step.phase == "agree":
            return discrepancy(target.logits, of_target)
        supervised = nn.functional.cross_entropy(of_source, source.labels)
        if step.phase == "source":
            return supervised
        return supervised - discrepancy(target.logits, of_target)

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
