"""A step of mmd + fisher,entropy against the same formulas written one after another (see `naive`)."""

from collections.abc import Iterator

from benchmarks.speed.harness import Row, Setting, interleaved, ratio, spreads
from benchmarks.speed.naive import NaiveStep
from benchmarks.speed.subjects import METHODS, Step, batches


def measure(setting: Setting) -> Iterator[Row]:
    """Both see the same 128 + 128 images of 3 x 75 x 75; the naive step is a program without datk."""
    source, target = batches(setting)
    cases = {
        "naive": NaiveStep(source.x, source.y, target.x),
        "datk": Step(METHODS["mmd + fisher,entropy"], setting),
    }
    times = interleaved(cases, setting, outside=["naive"])
    yield Row(
        "step of mmd + fisher,entropy: naive over datk",
        ratio(times, "naive", "datk"),
        at_least=20 if setting.on_gpu else 5,
        seconds=spreads(times),
    )
