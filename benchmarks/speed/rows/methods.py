"""One epoch of the sim-sim experiment of DeepMerge II (10,798 pairs, 85 steps) with each of five methods."""

from collections.abc import Iterator

import torch

from benchmarks.speed.harness import Row, Setting, Spread, interleaved
from benchmarks.speed.subjects import METHODS, PAPER_ROWS, Run


def measure(setting: Setting) -> Iterator[Row]:
    """Seconds, on the device at hand; the limit is for an H100."""
    h100 = setting.on_gpu and "H100" in torch.cuda.get_device_name(setting.device)
    for name, method in METHODS.items():
        run = Run(method, setting, PAPER_ROWS)
        times = interleaved({name: run.epoch}, setting, warm_up=1)
        yield Row(
            f"epoch of sim-sim, {name}",
            Spread.of(times[name]),
            unit="s",
            at_most=0.25 if h100 else None,
            note="" if h100 else "0.25 s is wanted of an H100",
        )
