"""The terms of the loss, from the device to the log."""

from collections.abc import Sequence
from math import isfinite
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch import Tensor

from datk.base.errors import RunError
from datk.training.gather import mean


class PhaseTerms(NamedTuple):
    """The terms of the loss in one phase of a step, and what else they want to be logged."""

    phase: str
    names: tuple[str, ...]
    logged: tuple[str, ...]
    values: Tensor
    """[names + logged], on the device, without gradient."""


def last_good(epochs: int) -> str:
    """What is left of a run that went wrong after so many good epochs."""
    return f"epoch {epochs} is kept in checkpoints" if epochs else "no epoch was completed"


class NotFiniteError(RunError):
    """A term of the loss, or what it trains, is not finite."""


class Trace:
    """The terms of past steps, kept on the device until they are asked for."""

    def __init__(self, steps_per_epoch: int) -> None:
        self.steps_per_epoch = steps_per_epoch
        self.kept: list[tuple[int, PhaseTerms]] = []

    def add(self, step: int, losses: Sequence[PhaseTerms]) -> None:
        """Keep the terms of one step (from 0)."""
        self.kept += [(step, phase) for phase in losses]

    def flush(self) -> list[dict[str, Any]]:
        """A record per phase: the last step and the mean of each term since the last flush.

        Raises:
            NotFiniteError: a term is NaN or infinite; names the first such step and its term.
        """
        kept, self.kept = self.kept, []
        if not kept:
            return []
        on_host = iter(mean(torch.cat([losses.values for _, losses in kept])).tolist())
        phases: dict[str, list[tuple[dict[str, float], dict[str, float]]]] = {}
        for step, losses in kept:
            terms = {name: next(on_host) for name in losses.names}
            logged = {name: next(on_host) for name in losses.logged}
            for name, value in terms.items():
                if not isfinite(value):
                    epoch = step // self.steps_per_epoch
                    raise NotFiniteError(
                        f"loss term '{name}' became {value} at step {step + 1} (epoch {epoch + 1}); "
                        f"{last_good(epoch)}; lower train.lr or the term's weight"
                    )
            phases.setdefault(losses.phase, []).append((terms, logged))
        return [self._record(kept[-1][0], phase, steps) for phase, steps in phases.items()]

    def _record(
        self, step: int, phase: str, steps: Sequence[tuple[dict[str, float], dict[str, float]]]
    ) -> dict[str, Any]:
        """Means over steps; of what is only logged None where it was not a number."""
        record: dict[str, Any] = {
            "step": step + 1,
            "phase": phase,
            "loss": fmean(sum(terms.values()) for terms, _ in steps),
            "terms": {name: fmean(terms[name] for terms, _ in steps) for name in steps[0][0]},
        }
        means = {name: fmean(logged[name] for _, logged in steps) for name in steps[0][1]}
        if means:
            record["logged"] = {name: value if isfinite(value) else None for name, value in means.items()}
        return record
