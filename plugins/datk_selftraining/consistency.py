"""What methods that learn from their own predictions have in common."""

from torch import Tensor
from torch.nn.functional import cross_entropy


def entropy_of_rows(logits: Tensor) -> Tensor:
    """Entropy -sum_k p_k log p_k, in nats, of the predictions of each row of logits [B, K]; [B]."""
    log_p = logits.log_softmax(dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)


def confident_cross_entropy(
    logits: Tensor, teaching: Tensor, threshold: Tensor | float
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of logits [B, K] to the classes that probabilities `teaching` [B, K] without gradient put
    at least `threshold` on; other rows count as 0, and all are averaged over (Sohn et al. 2020, equation 4).
    Also the share of the rows that are confident; 0-d both."""
    confidence, classes = teaching.max(dim=1)
    confident = (confidence >= threshold).to(logits.dtype)
    losses = cross_entropy(logits, classes, reduction="none")
    return (confident * losses).mean(), confident.mean()
