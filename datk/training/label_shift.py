"""Class shares of the target, estimated without its labels.

Domains may differ in how frequent classes are. A method that makes their features alike then puts rows of one
class where another one belongs, unless it weighs source rows by the ratio of the shares.
"""

import torch
from torch import Tensor

LARGEST_RATIO = 5.0
"""Of a class's shares in target and source: rows of a class that the source hardly has cannot speak for more
than that."""


def temperature(logits: Tensor, labels: Tensor) -> float:
    """The number T >= 1 that logits [N, K] are divided by to make the labels [N] most likely (Guo et al.
    2017).

    A network is seldom too modest, and on a few rows without an error the likelihood would make it more
    certain without end.
    """
    candidates = torch.logspace(0, 1.5, 46, dtype=torch.float64)
    scaled = logits.double()[None] / candidates[:, None, None]
    likelihood = scaled.log_softmax(dim=2)[:, torch.arange(len(labels)), labels].mean(dim=1)
    return float(candidates[likelihood.argmax()])


def shares(labels: Tensor, classes: int) -> Tensor:
    """Shares [K] of the classes among labels [N]."""
    return torch.bincount(labels.cpu(), minlength=classes).double() / len(labels)


def predicted_shares(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Shares [K] of the classes among rows by their logits [N, K]: the mean of the probabilities.

    Under a shift of the shares alone it stops short of them, as it keeps a part of the source's. Expectation
    maximisation (Saerens et al. 2002) does not, but where the samples themselves are shifted it goes astray,
    and so does the inverse of a confusion matrix: what is too cautious is the smaller fault.
    """
    return (_finite(logits).double() / temperature).softmax(dim=1).mean(dim=0)


def distance(one: Tensor, other: Tensor) -> float:
    """Total variation between two lists of shares [K]: from 0, equal, to 1."""
    return float((one - other).abs().sum() / 2)


def chance_distance(of_source: Tensor, source: int, target: int) -> float:
    """The total variation of so many rows of the source and the target by chance, if both have the shares [K]
    of the source: half the sum over the classes of the mean size of a normal deviation."""
    variance = of_source * (1 - of_source) * (1 / source + 1 / target)
    return float((2 * variance / torch.pi).sqrt().sum() / 2)


def ratios(of_target: Tensor, of_source: Tensor) -> Tensor:
    """Weights [K] of source rows by their class: the ratio of the shares, at most `LARGEST_RATIO`, scaled so
    that their mean over the source's rows is 1; 0 for a class that the source does not have."""
    present = of_source > 0
    ratio = torch.where(present, of_target / torch.where(present, of_source, 1), 0)
    ratio = ratio.clamp_max(LARGEST_RATIO)
    return (ratio / (ratio * of_source).sum()).float()


def information(logits: Tensor) -> float:
    """How much predictions tell of their rows: the entropy of the mean probabilities less the mean entropy of
    each row's, of logits [N, K]; in nats, at most ln K (Shi & Sha 2012).

    It is 0 for a network that says the same of every row.
    """
    log_p = _finite(logits).double().log_softmax(dim=1)
    mean = log_p.exp().mean(dim=0)
    return float(torch.special.entr(mean).sum() + (log_p.exp() * log_p).sum(dim=1).mean())


def _finite(logits: Tensor) -> Tensor:
    """Without the rows of which nothing finite is said; all the same if there are no others."""
    rows = logits[logits.isfinite().all(dim=1)]
    return rows if len(rows) else torch.zeros_like(logits)
