"""How long datk takes to start."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.speed.harness import Row, Setting, Spread
from datk.runs.result import read_result


def measure(setting: Setting) -> Iterator[Row]:
    """Commands in processes of their own; the first of each warms the disk's cache."""
    for command in (["--help"], ["plugins"]):
        seconds = [_command(command) for _ in range(setting.repeats + 1)][1:]
        yield Row(f"datk {command[0]}", Spread.of(seconds), unit="s", at_most=0.3)
    first = Spread.of([_first_step(setting) for _ in range(max(3, setting.repeats // 3))])
    yield Row("datk run, to its first step on built-in data", first, unit="s", at_most=8)
    ratios = [_table_over_torch() for _ in range(max(3, setting.repeats // 2))]
    what = "a run on a table of 200 rows less its training, over import torch"
    yield Row(what, Spread.of(ratios), at_most=2.2)


def _table_over_torch() -> float:
    """Both in processes of their own, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        np.savez(f"{folder}/table.npz", x=rng.normal(size=(200, 10)), y=np.arange(200) % 2)
        keys = {
            "source": "table.npz",
            "source_x": "x",
            "source_y": "y",
            "target": "table.npz",
            "target_x": "x",
        }
        flags = [f"--set=pair.{key}={value}" for key, value in keys.items()]
        command = ["run", "--pair", "arrays", "--align", "none", "--epochs", "20", "--quiet", "--out", "run"]
        torch = _seconds([sys.executable, "-c", "import torch"], folder)
        run = _seconds([sys.executable, "-m", "datk", *command, *flags], folder)
        return (run - read_result(f"{folder}/run").seconds) / torch


def _seconds(command: list[str], folder: str) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
    return time.perf_counter() - start


def _command(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "datk", *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def _first_step(setting: Setting) -> float:
    """Until the first line of the log, which is asked for at the first step."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--set", "train.log_every=1", "--device", str(setting.device), "--out", f"{folder}/run"]
        log = Path(folder) / "run" / "metrics.jsonl"
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "datk", "run", "--quiet", *options], stdout=subprocess.DEVNULL
        )
        try:
            while not log.exists():
                if process.poll() is not None:
                    raise RuntimeError(f"datk run ended with code {process.returncode} before its first step")
                time.sleep(0.005)
            return time.perf_counter() - start
        finally:
            process.kill()
            process.wait()
