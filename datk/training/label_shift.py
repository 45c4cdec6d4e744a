"""Class shares of the target, estimated without its labels.

Domains may differ in how frequent classes are. A method that makes their features alike then puts rows of one
class where another one belongs, unless it weighs source rows by the ratio of the shares.

Three estimates are here. `predicted_shares` is what a run uses. `em_shares` and `bbse_shares` find the shares
where nothing else is shifted, and go astray where the samples are, too; `benchmarks/defaults/shares.py`
compares them. All of it is computed on the CPU, in float64.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

LARGEST_RATIO = 5.0
"""Of a class's shares in target and source: rows of a class that the source hardly has cannot speak for more
than that."""
PSEUDO_COUNT = 10.0
"""Rows with the source's shares that are added to those that an estimate is of: few rows tell little."""


def temperature(logits: Tensor, labels: Tensor, prior: Tensor | float = 0.0) -> float:
    """The number T from 0.1 to 30 by which logits [N, K] must be divided to make the labels [N] most likely
    (Guo et al. 2017).

    ln T counts as an observation of a normal distribution around 0 with deviation 1, so that a few rows
    without an error do not make the network certain without end.

    prior: what is added to the divided logits [K].
    """
    candidates = torch.logspace(-1, 1.5, 101, dtype=torch.float64)
    logits = (
        logits.double()
    )  # one candidate at a time: all together they would take a hundred times the memory
    losses = [cross_entropy(logits / each + prior, labels, reduction="sum") for each in candidates]
    return float(candidates[(torch.stack(losses) + candidates.log().square() / 2).argmin()])


def shares(labels: Tensor, classes: int) -> Tensor:
    """Shares [K] of the classes among labels [N]."""
    return torch.bincount(labels.cpu(), minlength=classes).double() / len(labels)


def predicted_shares(logits: Tensor, temperature: float = 1.0, prior: Tensor | float = 0.0) -> Tensor:
    """Shares [K] of the classes among rows by their logits [N, K]: the mean of the probabilities.

    Under a shift of the shares alone it stops short of them, as it keeps a part of the source's; of the other
    estimates it is the one that goes wrong least where the samples are shifted, too. Rows of which nothing
    finite is said are left out.

    prior: what is added to the divided logits [K].
    """
    return (_finite(logits).double() / temperature + prior).softmax(dim=1).mean(dim=0)


def em_shares(probabilities: Tensor, of_source: Tensor, steps: int = 1000) -> Tensor:
    """Shares [K] by expectation maximisation (Saerens et al. 2002): probabilities are weighed by the ratio of
    the shares and averaged, again and again, until the shares stay as they are.

    Args:
        probabilities: calibrated, of rows of the target [N, K].
        of_source: shares [K] in the source; of a class that it does not have the share is 0.
        steps: at most so many.
    """
    likelihoods = torch.where(of_source > 0, probabilities.double() / of_source.clamp_min(1e-12), 0)
    found = of_source.double()
    for _ in range(steps):
        joint = likelihoods * found
        before, found = found, (joint / joint.sum(dim=1, keepdim=True).clamp_min(1e-300)).mean(dim=0)
        if (found - before).abs().sum() < 1e-9:
            break
    return found / found.sum()


def bbse_shares(logits: Tensor, labels: Tensor, of_target: Tensor, of_source: Tensor) -> Tensor:
    """Shares [K] by black-box shift estimation (Lipton et al. 2018): those by which the confusions on source
    rows explain how often each class is predicted for the target.

    What the confusions do not determine stays as in the source: the difference of the weights from 1 is kept
    small (Azizzadenesheli et al. 2019), the more so the fewer rows there are, so that classes without rows or
    that are never predicted do no harm.

    Args:
        logits: of labelled source rows [N, K].
        labels: of these rows [N].
        of_target: logits of rows of the target [M, K].
        of_source: shares [K] in the source.
    """
    classes = len(of_source)
    predicted, true = (one_hot(each, classes).double() for each in (logits.argmax(dim=1), labels))
    confusions = predicted.T @ true / len(labels)
    seen = one_hot(of_target.argmax(dim=1), classes).double().mean(dim=0)
    penalty = torch.eye(classes, dtype=torch.float64) * (confusions.diagonal().mean() + 1e-6) / len(labels)
    excess = torch.linalg.solve(
        confusions.T @ confusions + penalty, confusions.T @ (seen - confusions.sum(dim=1))
    )
    found = (1 + excess).clamp_min(0) * of_source
    return found / found.sum() if found.sum() > 0 else of_source.double()


def drawn_to(of_source: Tensor, estimate: Tensor, rows: int) -> Tensor:
    """An estimate [K] from so many rows with `PSEUDO_COUNT` rows that have the source's shares [K]."""
    return (rows * estimate + PSEUDO_COUNT * of_source) / (rows + PSEUDO_COUNT)


def distance(one: Tensor, other: Tensor) -> float:
    """Total variation between two lists of shares [K]: from 0, equal, to 1."""
    return float((one - other).abs().sum() / 2)


def chance_distance(of_source: Tensor, source: int, target: int) -> float:
    """The total variation of so many rows of the source and the target by chance, if both have the shares [K]
    of the source: half the sum over the classes of the mean size of a normal deviation."""
    variance = of_source * (1 - of_source) * (1 / source + 1 / target)
    return float((2 * variance / torch.pi).sqrt().sum() / 2)


def ratios(of_target: Tensor, of_source: Tensor) -> Tensor:
    """Weights [K] of source rows by their class, float32: the ratio of the shares, at most `LARGEST_RATIO`,
    with mean 1 over the source's rows; 0 for a class that the source does not have. All are 1 if the target
    has none of the source's classes."""
    present = of_source > 0
    ratio = torch.where(present, of_target / torch.where(present, of_source, 1), 0).clamp_max(LARGEST_RATIO)
    mean = (ratio * of_source).sum()
    return (ratio / mean if mean > 0 else torch.ones_like(ratio)).float()


def information(logits: Tensor) -> float:
    """How much predictions tell of their rows: the entropy of the mean probabilities less the mean entropy of
    each row's, of logits [N, K]; in nats, at most ln K (Shi & Sha 2012).

    It is 0 for a network that says the same of every row. Rows of which nothing finite is said are left out.
    """
    log_p = _finite(logits).double().log_softmax(dim=1)
    mean = log_p.exp().mean(dim=0)
    return float(torch.special.entr(mean).sum() + (log_p.exp() * log_p).sum(dim=1).mean())


def _finite(logits: Tensor) -> Tensor:
    """Without the rows of which nothing finite is said; all the same if there are no others."""
    rows = logits[logits.isfinite().all(dim=1)]
    return rows if len(rows) else torch.zeros_like(logits)
