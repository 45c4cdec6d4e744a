"""What options of `train` do to a step: memory format, precision, compilation.

Their defaults are decided by these rows.
"""

from collections.abc import Iterator
from typing import Any

from benchmarks.speed.harness import Row, Setting, interleaved, ratio, spreads
from benchmarks.speed.subjects import METHODS, Step

OPTIONS: dict[str, dict[str, Any]] = {
    "memory_format=contiguous": {"memory_format": "contiguous"},
    "memory_format=channels-last": {"memory_format": "channels-last"},
    "precision=bfloat16": {"precision": "bfloat16"},
    "compile=default": {"compile": "default"},
}
ON_GPU: dict[str, dict[str, Any]] = {
    "precision=float16": {"precision": "float16"},
    "compile=reduce-overhead": {"compile": "reduce-overhead"},
    "compile=max-autotune": {"compile": "max-autotune"},
    "compile=reduce-overhead, channels-last and bfloat16": {
        "compile": "reduce-overhead",
        "memory_format": "channels-last",
        "precision": "bfloat16",
    },
}


def measure(setting: Setting) -> Iterator[Row]:
    """mmd + fisher,entropy, each option against the defaults."""
    method = METHODS["mmd + fisher,entropy"]
    options = OPTIONS | (ON_GPU if setting.on_gpu else {})
    cases = {"defaults": Step(method, setting)}
    cases |= {name: Step(method, setting, **train) for name, train in options.items()}
    times = interleaved(cases, setting, warm_up=6)
    for name in options:
        step = cases[name]
        yield Row(
            f"step with train.{name} over the defaults",
            ratio(times, name, "defaults"),
            note="; ".join(step.notes),
        )
    yield Row("step with the defaults", spreads(times)["defaults"], unit="s")
