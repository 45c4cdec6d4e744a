"""Whole epochs against the steps in them: loading, logging, validation and checkpoints are the difference."""

from collections.abc import Iterator

from benchmarks.speed.harness import Row, Setting, interleaved, ratio, spreads
from benchmarks.speed.subjects import METHODS, PAPER_ROWS, Run

SMALL_ROWS = 3_658
"""Of each domain; 2,560 of them are for training, which makes 20 steps."""


def measure(setting: Setting) -> Iterator[Row]:
    """mmd + fisher,entropy, with the options of `datk run`."""
    run = Run(METHODS["mmd + fisher,entropy"], setting, PAPER_ROWS if setting.full else SMALL_ROWS)
    times = interleaved({"epoch": run.epoch, "bare steps": run.bare}, setting)
    yield Row(
        f"epoch of {run.trainer.steps_per_epoch} steps, all included, over its bare steps",
        ratio(times, "epoch", "bare steps"),
        at_most=1.15,
        seconds=spreads(times),
    )
