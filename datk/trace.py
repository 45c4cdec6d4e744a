"""The terms of the loss, from the device to the log."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch import Tensor

from datk import distributed
from datk.errors import RunError


class Losses(NamedTuple):
    """The weighted terms of the loss in one phase of a step."""

    phase: str
    names: tuple[str, ...]
    values: Tensor
    """[T], on the device, without gradient."""


def last_good(epochs: int) -> str:
    """What is left of a run that went wrong after so many good epochs."""
    return f"epoch {epochs} is kept in checkpoints" if epochs else "no epoch was completed"


class Trace:
    """The terms of past steps, kept on the device until they are asked for."""

    def __init__(self, steps_per_epoch: int) -> None:
        self.steps_per_epoch = steps_per_epoch
        self.kept: list[tuple[int, Losses]] = []

    def add(self, step: int, losses: Sequence[Losses]) -> None:
        """Keep the terms of one step (from 0)."""
        self.kept += [(step, phase) for phase in losses]

    def flush(self) -> list[dict[str, Any]]:
        """A record per phase: the last step and the mean of each term since the last flush.

        Raises:
            RunError: a term is NaN or infinite; names the first such step and its term.
        """
        kept, self.kept = self.kept, []
        if not kept:
            return []
        on_host = iter(distributed.mean(torch.cat([losses.values for _, losses in kept])).tolist())
        phases: dict[str, list[dict[str, float]]] = {}
        for step, losses in kept:
            terms = {name: next(on_host) for name in losses.names}
            for name, value in terms.items():
                if not math.isfinite(value):
                    epoch = step // self.steps_per_epoch
                    raise RunError(
                        f"loss term '{name}' became {value} at step {step + 1} (epoch {epoch + 1}); "
                        f"{last_good(epoch)}; lower train.lr or the term's weight"
                    )
            phases.setdefault(losses.phase, []).append(terms)
        return [
            {
                "step": kept[-1][0] + 1,
                "phase": phase,
                "loss": fmean(sum(terms.values()) for terms in steps),
                "terms": {name: fmean(terms[name] for terms in steps) for name in steps[0]},
            }
            for phase, steps in phases.items()
        ]
