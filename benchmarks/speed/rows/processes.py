"""Two processes that share the batches of one run (torchrun), on one machine without GPUs."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.speed.harness import Row, Setting, Spread

OPTIONS = ["--set", "pair.images=800", "--epochs", "2", "--device", "cpu", "--quiet"]


def measure(setting: Setting) -> Iterator[Row]:
    """Seconds of training in result.json, two processes with a thread each over one with two threads."""
    if setting.on_gpu:
        yield Row("two processes over one", None, note="is measured on CPUs: there is one GPU here")
        return
    two = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "datk"]
    pairs = [(_seconds(two, 1), _seconds(["-m", "datk"], 2)) for _ in range(max(3, setting.repeats // 3))]
    yield Row(
        "two processes of one thread over one process of two, mmd on mock-mergers",
        Spread.of([of_two / of_one for of_two, of_one in pairs]),
        seconds={
            name: Spread.of(values)
            for name, values in zip(("two", "one"), zip(*pairs, strict=True), strict=True)
        },
    )


def _seconds(launcher: list[str], threads: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, *launcher, "run", *OPTIONS, "--out", f"{folder}/run"],
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        return float(json.loads((Path(folder) / "run" / "result.json").read_text())["seconds"])
