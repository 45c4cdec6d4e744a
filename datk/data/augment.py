"""Random changes of the training images, on their device, a batch at a time.

What is drawn is a pure function of seed, domain and epoch; every image of either domain and class is treated
alike, so that no trace of the augmentation can tell classes apart.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from datk.base.rng import torch_generator
from datk.config.models import TrainConfig
from datk.data.symmetries import dihedral


class Augmentation(Protocol):
    """Draws for a whole epoch, applies to a batch."""

    def draw(self, shape: Sequence[int], seed: int, domain: str, epoch: int) -> Tensor:
        """What is to happen to each image of an epoch: [steps, B, ...] for shape [steps, B]."""

    def apply(self, x: Tensor, drawn: Tensor) -> Tensor:
        """The images x [B, C, H, W] changed by one line of what was drawn, [B, ...]."""


def augmentation(config: TrainConfig) -> Augmentation | None:
    """The one that a configuration asks for."""
    if config.augment == "none":
        return None
    return Dihedral() if config.augment == "dihedral" else RotateZoom(config.zoom)


class Dihedral:
    """Flips and quarter turns."""

    def draw(self, shape: Sequence[int], seed: int, domain: str, epoch: int) -> Tensor:
        """Symmetries 0..7 of the square, see `dihedral`."""
        return torch.randint(8, tuple(shape), generator=torch_generator(seed, "augment", domain, epoch))

    def apply(self, x: Tensor, drawn: Tensor) -> Tensor:
        """Apply the symmetries; the type of x is kept."""
        return dihedral(x, drawn)


class RotateZoom:
    """Flips, rotation by any angle and zoom."""

    def __init__(self, zoom: tuple[float, float]) -> None:
        self.zoom = zoom

    def draw(self, shape: Sequence[int], seed: int, domain: str, epoch: int) -> Tensor:
        """Matrices [*shape, 2, 2], see `resample`: uniform angles, every second one mirrored, and
        magnifications whose logarithms are uniform."""
        generator = torch_generator(seed, "augment", domain, epoch)
        angle, mirror, size = torch.rand((3, *shape), generator=generator)
        low, high = (math.log(factor) for factor in self.zoom)
        scale = torch.exp(-(low + (high - low) * size))
        cos, sin = (scale * f(2 * math.pi * angle) for f in (torch.cos, torch.sin))
        sign = torch.where(mirror < 0.5, 1.0, -1.0)
        return torch.stack(
            [torch.stack([sign * cos, -sin], dim=-1), torch.stack([sign * sin, cos], dim=-1)], dim=-2
        )

    def apply(self, x: Tensor, drawn: Tensor) -> Tensor:
        """Apply the matrices; gives float32."""
        return resample(x.float(), drawn)


def resample(x: Tensor, matrices: Tensor) -> Tensor:
    """Images seen through linear maps about their middle: the pixel at p shows what was at matrix @ p.

    x [B, C, H, W] float; matrices [B, 2, 2] act on (column, row) in pixels from the middle. What lies outside
    is the mirror image of what lies inside. Interpolation is bicubic (Keys 1981): linear interpolation would
    take away half of the pixels' noise, and training images would differ from those of the test.
    """
    height, width = x.shape[-2:]
    aspect = torch.tensor([[1.0, height / width], [width / height, 1.0]])
    theta = torch.cat([matrices * aspect.to(matrices), matrices.new_zeros(*matrices.shape[:-1], 1)], dim=-1)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
