"""Which rows a step sees. Pure functions of the seed and the position: resuming needs no saved state."""

import math

import torch
from torch import Tensor

from datk.base.rng import torch_generator


def steps_per_epoch(rows: int, batch: int) -> int:
    """Batches of `batch` rows that cover all rows once."""
    return math.ceil(rows / batch)


def epoch_batches(rows: int, batch: int, seed: int, epoch: int) -> Tensor:
    """Every source row once, in random order: [steps, batch]. The last batch is filled up with the epoch's
    first rows, so that all batches have one shape."""
    order = torch.randperm(rows, generator=torch_generator(seed, "source-order", epoch))
    return order[torch.arange(steps_per_epoch(rows, batch) * batch) % rows].view(-1, batch)


def balanced_rows(labels: Tensor, per_class: int, seed: int, epoch: int) -> Tensor:
    """The rows of an epoch with `per_class` of each class, class by class: [classes * per_class].

    labels: [N] int64. The rows of a class are an endless stream that goes on over epochs, so that each is
    drawn as often as any other of its class.
    """
    drawn = []
    for label in torch.unique(labels).tolist():
        rows = torch.nonzero(labels == label).flatten()
        stream = _stream(len(rows), per_class, seed, f"balance-{label}", epoch)
        drawn.append(rows[stream])
    return torch.cat(drawn)


def stream_batches(rows: int, batch: int, steps: int, seed: int, epoch: int) -> Tensor:
    """The epoch's part of an endless stream of target rows: [steps, batch]."""
    return _stream(rows, steps * batch, seed, "target-order", epoch).view(steps, batch)


def _stream(rows: int, count: int, seed: int, name: str, epoch: int) -> Tensor:
    """The epoch's `count` of an endless stream of rows: one permutation after another, whose boundaries need
    not be those of the epochs."""
    position = torch.arange(count) + epoch * count
    turn = position // rows
    first, last = int(turn[0]), int(turn[-1])
    orders = torch.stack(
        [torch.randperm(rows, generator=torch_generator(seed, name, k)) for k in range(first, last + 1)]
    )
    return orders[turn - first, position % rows]
