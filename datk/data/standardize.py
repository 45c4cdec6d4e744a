"""Per-domain, per-channel standardisation, fitted on training rows only."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from datk.data.rows import chunks
from datk.interfaces import Array


class Standardize(nn.Module):
    """(x - mean) / std per channel of images [B, C, H, W], per feature of vectors [B, F]; gives float32.

    The constants are buffers and saved with the model. A channel without spread is centred only. Each of
    several sources has constants of its own, which rows get by the number of their domain.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, shape: tuple[int, ...], sources: int = 1) -> None:
        super().__init__()
        constants: tuple[int, ...] = (shape[0], *(1,) * (len(shape) - 1))
        self.by_domain = sources > 1
        if self.by_domain:
            constants = (sources, *constants)
        self.register_buffer("mean", torch.zeros(constants))
        self.register_buffer("std", torch.ones(constants))

    def forward(self, x: Tensor, domain: Tensor | None = None) -> Tensor:
        """Standardise a batch of any stored type; domain [B] if there are several sources."""
        if self.by_domain:
            return (x.float() - self.mean[domain]).div_(self.std[domain])
        return (x.float() - self.mean).div_(self.std)

    def fit(
        self, x: Array, rows: npt.NDArray[np.int64], numbers: npt.NDArray[np.int64] | None = None
    ) -> None:
        """Set the constants from the given rows, in increasing order. `numbers` are the domains [N] of all
        rows of the array, if there are several sources; each of them has some of the rows."""
        if numbers is None:
            self._set(*_moments(x, rows), slice(None))
            return
        for number in range(len(self.mean)):
            self._set(*_moments(x, rows[numbers[rows] == number]), number)

    def _set(self, mean: npt.NDArray[np.float64], std: npt.NDArray[np.float64], where: int | slice) -> None:
        self.mean[where] = torch.from_numpy(mean).view_as(self.mean[where])
        self.std[where] = torch.from_numpy(std).view_as(self.std[where])


def _moments(
    x: Array, rows: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and deviation [C] over rows, piece by piece, in float64 (merging as Chan et al. 1979)."""
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
    return mean, std
