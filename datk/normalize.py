"""Per-domain, per-channel standardisation, fitted on training rows only."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from datk.interfaces import Array
from datk.rows import chunks


class Standardize(nn.Module):
    """(x - mean) / std per channel of images [B, C, H, W], per feature of vectors [B, F]; gives float32.

    The constants are buffers and saved with the model. A channel without spread is centred only.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        constants = (shape[0], *(1,) * (len(shape) - 1))
        self.register_buffer("mean", torch.zeros(constants))
        self.register_buffer("std", torch.ones(constants))

    def forward(self, x: Tensor) -> Tensor:
        """Standardise a batch of any stored type."""
        return (x.float() - self.mean).div_(self.std)

    def fit(self, x: Array, rows: npt.NDArray[np.int64]) -> None:
        """Set the constants from the given rows, piece by piece, in float64 (merging as Chan et al. 1979)."""
        axes = (0, *range(2, len(x.shape)))
        count, mean, spread = 0, np.zeros(x.shape[1]), np.zeros(x.shape[1])
        for _, chunk in chunks(x, rows):
            values = chunk.astype(np.float64)
            n = values.size // values.shape[1]
            chunk_mean = values.mean(axis=axes)
            gap = chunk_mean - mean
            spread += values.var(axis=axes) * n + gap**2 * (count * n / (count + n))
            mean += gap * (n / (count + n))
            count += n
        std = np.sqrt(spread / count)
        std[std <= 1e-12 * np.abs(mean)] = 1.0  # rounding, not spread, whatever the unit
        self.mean.copy_(torch.from_numpy(mean).view_as(self.mean))
        self.std.copy_(torch.from_numpy(std).view_as(self.std))
