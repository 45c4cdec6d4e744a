"""What options of `train` do to a step: memory format, precision, compilation, graphs."""

from collections.abc import Iterator
from typing import Any

from benchmarks.speed.harness import Row, Setting, interleaved, ratio, spreads
from benchmarks.speed.subjects import METHODS, Step

OPTIONS: dict[str, dict[str, Any]] = {
    "memory_format=contiguous": {"memory_format": "contiguous"},
    "memory_format=channels-last": {"memory_format": "channels-last"},
    "precision=bfloat16": {"precision": "bfloat16"},
}


def measure(setting: Setting) -> Iterator[Row]:
    """mmd + fisher,entropy, each option against the defaults."""
    method = METHODS["mmd + fisher,entropy"]
    cases = {"defaults": Step(method, setting)}
    cases |= {name: Step(method, setting, **train) for name, train in OPTIONS.items()}
    times = interleaved(cases, setting, warm_up=5)
    for name in OPTIONS:
        yield Row(f"step with train.{name} over the defaults", ratio(times, name, "defaults"))
    yield Row("step with the defaults", spreads(times)["defaults"], unit="s")
