"""The terms of the loss, from the device to the log."""

import math
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from datk.errors import RunError


def last_good(epochs: int) -> str:
    """What is left of a run that went wrong after so many good epochs."""
    return f"epoch {epochs} is kept in checkpoints" if epochs else "no epoch was completed"


class Trace:
    """The terms of past steps, kept on the device until they are asked for."""

    def __init__(self, steps_per_epoch: int) -> None:
        self.steps_per_epoch = steps_per_epoch
        self.kept: list[tuple[int, str, tuple[str, ...], Tensor]] = []

    def add(self, step: int, phase: str, names: tuple[str, ...], values: Tensor) -> None:
        """Keep the terms [T] of one step (from 0)."""
        self.kept.append((step, phase, names, values))

    def flush(self) -> list[dict[str, Any]]:
        """A record per phase: the last step and the mean of each term since the last flush.

        Raises:
            RunError: a term is NaN or infinite; names the first such step and its term.
        """
        kept, self.kept = self.kept, []
        if not kept:
            return []
        on_host = iter(torch.cat([values for *_, values in kept]).tolist())
        phases: dict[str, list[dict[str, float]]] = {}
        for step, phase, names, _ in kept:
            terms = {name: next(on_host) for name in names}
            self._check_finite(step, terms)
            phases.setdefault(phase, []).append(terms)
        return [
            {
                "step": kept[-1][0] + 1,
                "phase": phase,
                "loss": fmean(sum(terms.values()) for terms in steps),
                "terms": {name: fmean(terms[name] for terms in steps) for name in steps[0]},
            }
            for phase, steps in phases.items()
        ]

    def _check_finite(self, step: int, terms: dict[str, float]) -> None:
        for name, value in terms.items():
            if not math.isfinite(value):
                epoch = step // self.steps_per_epoch
                raise RunError(
                    f"loss term '{name}' became {value} at step {step + 1} (epoch {epoch + 1}); "
                    f"{last_good(epoch)}; lower train.lr or the term's weight"
                )
