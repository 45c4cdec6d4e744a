"""What adaptation costs over plain training: a step of mmd + fisher,entropy against cross-entropy alone."""

from collections.abc import Iterator

from benchmarks.speed.harness import Row, Setting, interleaved, ratio, spreads
from benchmarks.speed.subjects import METHODS, Step


def measure(setting: Setting) -> Iterator[Row]:
    """Both see the same 128 + 128 images of 3 x 75 x 75."""
    times = interleaved({name: Step(method, setting) for name, method in METHODS.items()}, setting)
    wanted = "mmd + fisher,entropy"
    for name in METHODS:
        if name != "source only":
            limit = 1.10 if name == wanted else None
            value = ratio(times, name, "source only")
            yield Row(
                f"step of {name} over cross-entropy on the same images",
                value,
                at_most=limit,
                seconds=spreads(times),
            )
