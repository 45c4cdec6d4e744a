"""Random numbers of the shapes that the other modules need, from a generator that they are given."""

import torch
from torch import Generator, Tensor

__all__ = ["lognormal", "rotations", "uniform"]


def uniform(low: float, high: float, shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Numbers [*shape] between `low` and `high`."""
    return low + (high - low) * torch.rand(shape, generator=generator)


def lognormal(median: float, scatter: float, shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Numbers [*shape] whose logarithms have the standard deviation `scatter`."""
    return median * torch.exp(scatter * torch.randn(shape, generator=generator))


def rotations(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Rotation matrices [*shape, 3, 3], from quaternions that are uniform on the sphere."""
    quaternion = torch.randn((4, *shape), generator=generator)
    w, x, y, z = quaternion / torch.linalg.vector_norm(quaternion, dim=0)
    entries = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in entries], dim=-2)
