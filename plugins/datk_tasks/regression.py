"""Numbers, one or several for each sample."""

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datk.interfaces import DataError, Metric, PairInfo, Task


class Regression(Task):
    """Every sample has one number, or several; mean squared error of standardised numbers.

    The numbers are standardised by the source's training rows, each by itself, so that their units do not
    matter for training. Metrics are in the units of the labels; with several numbers they are means over
    them, and `mae NAME`, `rmse NAME` and `r2 NAME` are those of each.
    """

    metrics: ClassVar = {
        "r2": Metric("R²"),
        "mae": Metric("MAE", more_is_better=False),
        "rmse": Metric("RMSE", more_is_better=False),
    }

    centre: Tensor
    scale: Tensor

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.register_buffer("centre", torch.zeros(1, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(1, dtype=torch.float64))
        self.names: tuple[str, ...] = ()

    def outputs(self, pair: PairInfo) -> int:
        """One output for each number. Raises `DataError` for a pair whose labels are classes."""
        if pair.classes:
            some = ", ".join(pair.classes[:4])
            raise DataError(f"the labels are classes ({some}), not numbers; leave out task=regression")
        self.names = pair.targets
        return max(1, len(pair.targets))

    def check(self, labels: npt.NDArray[Any], pair: PairInfo) -> None:
        """Raises `DataError` for labels that are not finite, or of another number of columns."""
        columns = 1 if labels.ndim == 1 else labels.shape[1]
        if labels.dtype.kind != "f" or columns != max(1, len(pair.targets)):
            raise DataError(
                f"labels must be {max(1, len(pair.targets))} float numbers a row, "
                f"not {labels.dtype} of shape {list(labels.shape)}"
            )
        bad = ~np.isfinite(labels.reshape(len(labels), -1)).all(axis=1)
        if bad.any():
            raise DataError(
                f"{int(bad.sum())} labels are NaN or infinite, the first in row {int(bad.argmax())}; "
                "remove those rows"
            )

    def fit(self, labels: npt.NDArray[Any]) -> None:
        """Find mean and deviation of each number. Raises `DataError` for one that is the same in all rows."""
        values = labels.reshape(len(labels), -1).astype(np.float64)
        deviation = values.std(axis=0)
        if (deviation <= 1e-12 * np.abs(values).max(axis=0)).any():
            raise DataError("a number to be predicted is the same in all training rows of the source")
        self.centre = torch.from_numpy(values.mean(axis=0))
        self.scale = torch.from_numpy(deviation)

    def encode(self, labels: Tensor) -> Tensor:
        """Standardised numbers [N, T], float32."""
        values = labels.reshape(len(labels), -1).double()
        return ((values - self.centre.cpu()) / self.scale.cpu()).float()

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Squared error of each row [B], the mean over its numbers, of outputs and labels [B, T]."""
        return (outputs - labels).square().mean(dim=1)

    def score(self, outputs: Tensor, labels: Tensor) -> dict[str, float | int | None]:
        """R2, mean absolute and root mean squared error, in the units of the labels [N] or [N, T]."""
        truth = labels.reshape(len(labels), -1).double()
        errors = outputs.double() * self.scale.cpu() + self.centre.cpu() - truth
        spread = (truth - truth.mean(dim=0)).square().sum(dim=0)
        mae, mse = errors.abs().mean(dim=0), errors.square().mean(dim=0)
        r2 = [
            float(1 - error * len(truth) / total) if total > 0 else None
            for error, total in zip(mse.tolist(), spread.tolist(), strict=True)
        ]
        each = {"r2": r2, "mae": mae.tolist(), "rmse": mse.sqrt().tolist()}
        found: dict[str, float | int | None] = {
            name: None if None in values else float(np.mean(values)) for name, values in each.items()
        }
        if len(self.names) > 1:
            for name, values in each.items():
                found |= {f"{name} {target}": value for target, value in zip(self.names, values, strict=True)}
        return found | {"n": len(truth)}

    def headline(self, outputs: Tensor, labels: Tensor) -> float:
        """R2 of standardised numbers."""
        error = (outputs.double() - labels.double()).square().sum(dim=0)
        spread = (labels.double() - labels.double().mean(dim=0)).square().sum(dim=0)
        return float((1 - error / spread.clamp_min(1e-12)).mean())
