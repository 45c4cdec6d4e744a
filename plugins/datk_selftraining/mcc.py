"""Minimum class confusion: predictions on the target that do not waver between classes."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import log_softmax

from datk.interfaces import AlignmentLoss, SourceView, Step, TargetView, TermConfig


def class_confusion(logits: Tensor, temperature: float) -> Tensor:
    """Share of the confusion between different classes in a batch of logits [B, K]; 0-d, from 0 to 1 - 1/K.

    With p = softmax(g / T), weights w_i = B (1 + exp(-H(p_i))) / sum_j (1 + exp(-H(p_j))) that have no
    gradient, and the confusion C = sum_i w_i p_i p_i^T, whose rows are scaled to sum 1: the sum of what is
    off the diagonal divided by K (Jin et al. 2020, section 3).

    The matrix is not made: as probabilities sum to 1, class k has sum_i a_ik (1 - p_ik) off the diagonal,
    where a_ik = w_i p_ik / sum_j w_j p_jk is sample i's share of all that is predicted as k. By logarithms
    these shares exist for a class that nothing is predicted as, too, so that predictions of one class alone
    have the largest value, not the smallest.
    """
    log_p = log_softmax(logits / temperature, dim=1)
    p = log_p.exp()
    weights = 1 + (p * log_p).sum(dim=1, keepdim=True).detach().exp()
    shares = (weights.log() + log_p).softmax(dim=0)
    return (shares * (1 - p)).sum() / logits.shape[1]


class MCC(AlignmentLoss):
    """Minimum class confusion (MCC): predictions on the target should not mix classes up.

    Needs no domain classifier and no source rows: what is small is the correlation between the probabilities
    of different classes, counted over the batch with confident rows first. A batch should hold several rows
    of every class. Divided by the number K of classes, as in the paper, so that values compare across data
    sets. Temperature and weight 1 are those of the authors' code, too; it passes the domains one after the
    other, where batch normalisation sees both at once here.

    Reference: Jin et al. 2020, "Minimum Class Confusion for Versatile Domain Adaptation", ECCV.
    """

    needs_classes = True
    over_batch = True

    class Config(TermConfig):
        """Options of minimum class confusion."""

        temperature: float = Field(2.5, gt=0)
        """Divides the logits, so that small probabilities count, too."""

    def forward(self, source: SourceView, target: TargetView, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """Class confusion of the target's predictions; logs how many classes are predicted, effectively."""
        p = target.logits.detach().softmax(dim=1).mean(dim=0)
        effective = torch.exp(-(p * p.clamp_min(1e-12).log()).sum())
        return class_confusion(target.logits, self.config.temperature), {"predicted classes": effective}
