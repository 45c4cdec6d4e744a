"""Numbers, one or several for each sample."""

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datk.interfaces import DataError, Metric, PairInfo, Task
from datk_tasks.metrics import score_numbers

ROUNDING = 8 * np.finfo(np.float64).eps
"""Range of labels, in units of the largest of them, up to which they count as the same number."""


class Regression(Task):
    """Every sample has one number, or several; mean squared error of standardised numbers.

    Each number is standardised by itself, by mean and deviation over the source's training rows, so that
    units do not matter for training. Metrics are in the units of the labels, see
    `datk_tasks.metrics.score_numbers`; with several numbers `mae NAME`, `rmse NAME` and `r2 NAME` are those
    of each.
    """

    metrics: ClassVar = {
        "r2": Metric("R²"),
        "mae": Metric("MAE", more_is_better=False, in_label_units=True),
        "rmse": Metric("RMSE", more_is_better=False, in_label_units=True),
    }

    constants: Tensor
    """Mean and deviation of each number, the bits [2, T] of float64 as int64: not every device has float64,
    and float32 would spoil labels such as 2460000.5 days."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.names: tuple[str, ...] = ()
        self._keep(np.zeros(1), np.ones(1))

    def _keep(self, mean: npt.NDArray[np.float64], deviation: npt.NDArray[np.float64]) -> None:
        bits = torch.from_numpy(np.stack([mean, deviation]).view(np.int64))
        self.register_buffer("constants", bits)

    @property
    def mean(self) -> Tensor:
        """Mean of each number over the source's training rows, [T] float64, on the CPU."""
        return self.constants[0].cpu().view(torch.float64)

    @property
    def deviation(self) -> Tensor:
        """Standard deviation of each number over the source's training rows, [T] float64, on the CPU."""
        return self.constants[1].cpu().view(torch.float64)

    def outputs(self, pair: PairInfo) -> int:
        """One output for each number. Raises `DataError` for a pair whose labels are classes."""
        if pair.classes:
            some = ", ".join(pair.classes[:4]) + (", ..." if len(pair.classes) > 4 else "")
            raise DataError(f"the labels are classes ({some}), not numbers; leave out task=regression")
        self.names = pair.targets
        count = max(1, len(pair.targets))
        if self.constants.shape[1] != count:
            self._keep(np.zeros(count), np.ones(count))
        return count

    def check(self, labels: npt.NDArray[Any], pair: PairInfo) -> None:
        """Raises `DataError` for labels that are no finite numbers, or of another number of columns."""
        if labels.dtype.kind not in "iuf" or labels.dtype.itemsize > 8:
            raise DataError(f"labels must be numbers up to 64 bits, not {labels.dtype}")
        columns, named = 1 if labels.ndim == 1 else labels.shape[1], max(1, len(pair.targets))
        if columns != named:
            raise DataError(
                f"labels of shape {list(labels.shape)} hold {columns} numbers a row, but the pair names "
                f"{named} in `targets`; name each of them"
            )
        bad = ~np.isfinite(labels.reshape(len(labels), -1)).all(axis=1)
        if bad.any():
            raise DataError(
                f"{int(bad.sum())} of {len(labels)} labels are NaN or infinite, the first in row "
                f"{int(bad.argmax())}; remove those rows"
            )

    def fit(self, labels: npt.NDArray[Any]) -> None:
        """Find mean and deviation of each number. Raises `DataError` for one that is the same in all rows."""
        values = labels.reshape(len(labels), -1).astype(np.float64)
        with np.errstate(over="ignore"):
            mean = values.mean(axis=0)
            span = np.abs(values - mean).max(axis=0)
        if not np.isfinite(span).all():
            raise DataError("the labels are too large to take their mean; give them in another unit")
        same = np.flatnonzero(span <= ROUNDING * np.abs(values).max(axis=0))
        if len(same):
            name, advice = "the label", "give labels that differ"
            if len(self.names) > 1:
                name, advice = f"'{self.names[same[0]]}'", "leave it out"
            raise DataError(
                f"{name} is {values[0, same[0]]:g} in all training rows of the source: there is nothing "
                f"to learn; {advice}"
            )
        # In units of the largest deviation, so that no square is too large or too small for float64.
        deviation = span * np.sqrt((((values - mean) / span) ** 2).mean(axis=0))
        self._keep(mean, deviation)

    def encode(self, labels: Tensor) -> Tensor:
        """Standardised numbers [N, T], float32, of labels [N] or [N, T]."""
        values = labels.reshape(len(labels), -1).double()
        return ((values - self.mean) / self.deviation).float()

    def decode(self, outputs: Tensor) -> Tensor:
        """Predictions in the units of the labels [N, T], float64, on the CPU, of outputs [N, T]."""
        return outputs.cpu().double() * self.deviation + self.mean

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Squared error of each row [B], the mean over its numbers, of outputs and labels [B, T]."""
        return (outputs - labels).square().mean(dim=1)

    def score(self, outputs: Tensor, labels: Tensor) -> dict[str, float | int | None]:
        """R², mean absolute and root mean squared error, in the units of the labels [N] or [N, T]."""
        truth = labels.reshape(len(labels), -1).double()
        return score_numbers(self.decode(outputs).numpy(), truth.numpy(), self.names)

    def headline(self, outputs: Tensor, labels: Tensor) -> float | None:
        """R², which is the same in any unit, of outputs and standardised labels."""
        return score_numbers(outputs.double().numpy(), labels.double().numpy(), self.names)["r2"]
