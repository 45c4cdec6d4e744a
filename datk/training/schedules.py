"""Learning rate as a factor on its peak: pure functions of the step."""

import math
from collections.abc import Callable

from datk.config.models import EPOCHS, STEPS, TrainConfig

STRETCHED = ("one-cycle", "cosine")
"""Schedules that depend on how many epochs there are to be; the others are the same for any number."""


def one_cycle(step: int, total: int) -> float:
    """Half a cosine from 1/25 up to 1 over the first 30 % of the steps, then down to 1e-4 / 25
    (Smith & Topin 2018, with the shape and values that became customary)."""
    start, end, peak = 1 / 25, 1e-4 / 25, 0.3 * total
    if step < peak:
        return 1 + (start - 1) * (1 + math.cos(math.pi * step / peak)) / 2
    return end + (1 - end) * (1 + math.cos(math.pi * (step - peak) / max(1, total - peak))) / 2


def triangle(step: int, period: int) -> float:
    """Linearly from 1/10 up to 1 over half a period, rounded down, and back over the rest of it, again and
    again: the "one-cycle" of DeepMerge II's code, whose period is int(0.9 x cycle length x steps an epoch).
    """
    period = max(2, period)
    half, position = period // 2, step % period
    height = position / half if position <= half else (period - position) / (period - half)
    return 0.1 + 0.9 * height


def cosine(step: int, total: int) -> float:
    """Half a cosine from 1 to 0."""
    return (1 + math.cos(math.pi * step / max(1, total))) / 2


def epochs(config: TrainConfig, steps_per_epoch: int) -> int:
    """How many epochs a run trains: those of its configuration, or as many as make its steps."""
    if config.epochs is not None:
        return config.epochs
    if config.steps is not None:
        return math.ceil(config.steps / steps_per_epoch)
    return max(EPOCHS, math.ceil(STEPS / steps_per_epoch))


def schedule(config: TrainConfig, steps_per_epoch: int) -> Callable[[int], float]:
    """The factor at each step (from 0) for a configuration."""
    total = epochs(config, steps_per_epoch) * steps_per_epoch
    period = int(0.9 * config.cycle_length * steps_per_epoch)
    return {
        "one-cycle": lambda step: one_cycle(step, total),
        "triangle": lambda step: triangle(step, period),
        "cosine": lambda step: cosine(step, total),
        "constant": lambda step: 1.0,
    }[config.schedule]
