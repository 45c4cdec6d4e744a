"""Which rows a step sees. Pure functions of the seed and the position: resuming needs no saved state."""

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from datk.rng import torch_generator


def steps_per_epoch(rows: int, batch: int) -> int:
    """Batches of `batch` rows that cover all rows once."""
    return math.ceil(rows / batch)


def epoch_batches(rows: int, batch: int, seed: int, epoch: int) -> Tensor:
    """Every source row once, in random order: [steps, batch]. The last batch is filled up with the epoch's
    first rows, so that all batches have one shape."""
    steps = steps_per_epoch(rows, batch)
    order = torch.randperm(rows, generator=torch_generator(seed, "source-order", epoch))
    return order[torch.arange(steps * batch) % rows].view(steps, batch)


def stream_batches(rows: int, batch: int, steps: int, seed: int, epoch: int) -> Tensor:
    """The epoch's part of an endless stream of target rows: [steps, batch]. The stream is one permutation
    after another, whose boundaries need not be those of the epochs."""
    position = torch.arange(steps * batch) + epoch * steps * batch
    turn = position // rows
    first, last = int(turn[0]), int(turn[-1])
    orders = torch.stack(
        [
            torch.randperm(rows, generator=torch_generator(seed, "target-order", k))
            for k in range(first, last + 1)
        ]
    )
    return orders[turn - first, position % rows].view(steps, batch)


def dihedral_codes(shape: Sequence[int], seed: int, domain: str, epoch: int) -> Tensor:
    """A random symmetry 0..7 of the square for every image of an epoch: [steps, batch]."""
    return torch.randint(8, tuple(shape), generator=torch_generator(seed, "augment", domain, epoch))


def dihedral(x: Tensor, codes: Tensor) -> Tensor:
    """Apply a symmetry of the square to each image: bit 0 mirrors columns, bit 1 rows, bit 2 transposes.

    x [B, C, H, W]; codes [B] int64 in 0..7. Images that are not square are mirrored but not transposed.
    """
    channels, height, width = x.shape[1:]
    origins = _origins(height, width, x.device)[codes]
    return x.flatten(2).gather(2, origins[:, None].expand(-1, channels, -1)).view(x.shape)


@functools.lru_cache(maxsize=4)
def _origins(height: int, width: int, device: torch.device) -> Tensor:
    """For each symmetry, the pixel of the old image that every pixel of the new one shows: [8, H * W]."""
    pixels = torch.arange(height * width).view(height, width)
    moved = []
    for code in range(8):
        image = pixels.flip(-1) if code & 1 else pixels
        image = image.flip(-2) if code & 2 else image
        image = image.T if code & 4 and height == width else image
        moved.append(image.flatten())
    return torch.stack(moved).to(device)
