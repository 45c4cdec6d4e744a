"""Peak memory of a step on a GPU: mmd + fisher,entropy against cross-entropy alone."""

from collections.abc import Iterator

import torch

from benchmarks.speed.harness import Row, Setting, Spread
from benchmarks.speed.subjects import METHODS, Step


def measure(setting: Setting) -> Iterator[Row]:
    """Both see the same 128 + 128 images of 3 x 75 x 75."""
    what = "peak memory of a step of mmd + fisher,entropy over cross-entropy"
    if not setting.on_gpu:
        yield Row(what, None, at_most=1.3, note="needs a GPU")
        return
    peaks = {}
    for name in ("source only", "mmd + fisher,entropy"):
        step = Step(METHODS[name], setting)
        step(), step()
        torch.cuda.reset_peak_memory_stats(setting.device)
        step()
        torch.cuda.synchronize(setting.device)
        peaks[name] = torch.cuda.max_memory_allocated(setting.device)
        del step
    yield Row(what, Spread.of([peaks["mmd + fisher,entropy"] / peaks["source only"]]), at_most=1.3)
