"""Entropy of the predictions."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import log_softmax

from datk.interfaces import Regularizer, SourceView, Step, TargetView, TermConfig


def entropy(logits: Tensor) -> Tensor:
    """Mean entropy -sum_k p_k log p_k, in nats, of the predictions p = softmax(logits) of [N, K]; 0-d."""
    log_p = log_softmax(logits, dim=1)
    return -(log_p.exp() * log_p).sum(dim=1).mean()


class Entropy(Regularizer):
    """Entropy minimisation: confident predictions, so that class boundaries avoid dense regions.

    Logarithms are taken before the exponential, so that no probability is too small. DeepMerge II's code
    leaves out terms with p < 1e-6 for that reason; each would have added less than 1.4e-5.

    Reference: Grandvalet & Bengio 2004; Ciprijanovic et al. 2021, "DeepMerge II", MNRAS 506, 677.
    """

    needs_classes = True

    class Config(TermConfig):
        """Options of entropy minimisation."""

        weight: float = Field(0.05, ge=0)
        """Factor of this term in the total loss."""

        domains: Literal["both", "target"] = "both"
        """Whose predictions: the mean over the rows of both domains, or over the target's only."""

    def forward(self, source: SourceView, target: TargetView, step: Step) -> Tensor:
        """Mean entropy of the predictions."""
        if self.config.domains == "target":
            return entropy(target.logits)
        return entropy(torch.cat([source.logits, target.logits]))
