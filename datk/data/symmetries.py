"""Flips and quarter turns of images."""

import functools

import torch
from torch import Tensor


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
