"""Eight seeds trained as one program (train.together) against one."""

from collections.abc import Iterator

from datk.together import Stack

from benchmarks.speed.harness import Row, Setting, interleaved, ratio, spreads
from benchmarks.speed.subjects import METHODS, PAPER_ROWS, Run

SEEDS = 8
SMALL_ROWS = 400
"""Of each domain; 280 of them are for training, which makes 3 steps."""


def measure(setting: Setting) -> Iterator[Row]:
    """Whole epochs of all methods; a GPU has the limit, as a CPU is busy with one seed already."""
    rows = PAPER_ROWS if setting.full else SMALL_ROWS
    for name, method in METHODS.items():
        one = Run(method, setting, rows)
        runs = [Run(method, setting, rows, seed=seed, beside=one) for seed in range(SEEDS)]
        stack = Stack([run.trainer for run in runs])
        times = interleaved({"one": one.epoch, "together": stack.train_epoch}, setting, warm_up=1)
        yield Row(
            f"epoch of {SEEDS} seeds together over one, {name}",
            ratio(times, "together", "one"),
            at_most=2.5 if setting.on_gpu else None,
            seconds=spreads(times),
        )
