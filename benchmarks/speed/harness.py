"""Timing several cases in turn, and what is reported of them."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from datk.base.devices import describe_device, reusing_memory


@dataclass(frozen=True)
class Setting:
    """Where and how often is measured."""

    device: torch.device
    repeats: int
    full: bool
    """Data of the paper's size; otherwise of a size that a CPU can work through."""

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"


@dataclass(frozen=True)
class Spread:
    """Of repeated measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Median, smallest and largest."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Row:
    """A line of the report: what was measured, and what is wanted."""

    what: str
    value: Spread | None
    """None if it could not be measured here; `note` says why."""
    unit: str = "x"
    at_most: float | None = None
    at_least: float | None = None
    seconds: dict[str, Spread] = field(default_factory=dict)
    """Of the cases that the value is made of."""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the median is within what is wanted; None if nothing is, or nothing was measured."""
        if self.value is None or (self.at_most is None and self.at_least is None):
            return None
        return (self.at_most is None or self.value.median <= self.at_most) and (
            self.at_least is None or self.value.median >= self.at_least
        )

    def record(self) -> dict[str, Any]:
        """The row as JSON."""
        return {**asdict(self), "met": self.met}


Times = dict[str, list[float]]


def interleaved(
    cases: Mapping[str, Callable[[], object]],
    setting: Setting,
    warm_up: int = 2,
    outside: Collection[str] = (),
) -> Times:
    """Seconds of each case in each repeat. All cases of a repeat follow one another, so that what else the
    machine does meets all of them alike; the order turns, so that none is always first.

    Cases run as within `datk run`, which holds memory in a way of its own on a CPU (see `reusing_memory`),
    but for those `outside`. If there are any, the others are called once more before each time that counts.
    """
    names = list(cases)
    times: Times = {name: [] for name in names}
    with nullcontext() if outside else reusing_memory(setting.device):
        for repeat in range(-warm_up, setting.repeats):
            for position in range(len(names)):
                name = names[(repeat + position) % len(names)]
                inside = bool(outside) and name not in outside
                with reusing_memory(setting.device) if inside else nullcontext():
                    if inside:
                        cases[name]()
                    seconds = timed(cases[name], setting.device)
                if repeat >= 0:
                    times[name].append(seconds)
    return times


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that it takes, all of the device's work included."""
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    """Wait for what a GPU was told to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ratio(times: Times, of: str, to: str) -> Spread:
    """Of two cases, repeat by repeat."""
    return Spread.of([mine / other for mine, other in zip(times[of], times[to], strict=True)])


def spreads(times: Times) -> dict[str, Spread]:
    """Seconds of each case."""
    return {name: Spread.of(values) for name, values in times.items()}


def machine(device: torch.device) -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "date": date.today().isoformat(),
        "device": describe_device(device) if device.type == "cuda" else _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "platform": " ".join([platform.system(), platform.machine(), *platform.libc_ver()]),
        "python": platform.python_version(),
        "versions": {
            name: found
            for name in ("datk", "torch", "torchvision", "numpy", "pytorch-adapt", "skada")
            if (found := _version(name))
        },
        "cuda": torch.version.cuda if device.type == "cuda" else None,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "cpu"
