"""Shared fixtures: few threads, tiny data."""

import os
import signal
import sys
from pathlib import Path
from typing import NamedTuple

# Before torch is loaded: tests run side by side, and so do the programs that they start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from hypothesis import settings

from datk.cli.main import main
from tests.served import served

# How long an example takes says more of the machine and of what else runs on it than of the code.
settings.register_profile("datk", settings(), deadline=None)
settings.load_profile("datk")

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True, scope="session")
def _few_threads():
    torch.set_num_threads(int(os.environ.get("DATK_TEST_THREADS", "1")))


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard():
    """Programs that a shell starts in the background ignore it, and so would the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    """Runs without --out write to runs/ below the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def real_data():
    """Folder of real data sets, which are not part of the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data in {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def doomed():
    """Asks doomed.py for runs that it kills."""
    if not hasattr(os, "fork") or not Path("/proc/self/fd").is_dir():
        pytest.skip("needs Linux")
    with served("doomed") as ask:
        yield ask


@pytest.fixture
def tiny_arrays():
    """What the pair `arrays` reads: 60 + 60 images of 3 x 16 x 16 in two classes."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2

    def images(shift):
        dark = rng.integers(0, 128, (60, 3, 16, 16), dtype=np.uint8)
        dark[labels == 1, 0] += np.uint8(64)
        return dark + np.uint8(shift)

    return {"source_x": images(0), "source_y": labels, "target_x": images(32), "target_y": labels}


@pytest.fixture
def tiny_pair(tmp_path, tiny_arrays):
    """Arguments of `datk run` for those images in tiny.npz, a small network and one epoch on the CPU."""
    np.savez(tmp_path / "tiny.npz", **tiny_arrays)
    arguments = ["--pair", "arrays", "--backbone", "mlp", "--epochs", "1", "--device", "cpu"]
    for option in ("source", "target"):
        arguments += ["--set", f"pair.{option}={tmp_path / 'tiny.npz'}"]
    for key in tiny_arrays:
        arguments += ["--set", f"pair.{key}={key}"]
    return [*arguments, "--set", "train.batch_size=16"]


class Outcome(NamedTuple):
    """What a call of the command line came to."""

    code: int
    out: str
    err: str


@pytest.fixture
def datk(capsys, monkeypatch):
    """Calls the command line in this process, on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments):
        capsys.readouterr()
        try:
            main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as stop:
            code = stop.code
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs made-up distributions: `install("dist", {"datk.pairs": {"x": "module:Class"}}, module="")`."""

    def distribution(dist, groups, **modules):
        site = tmp_path / "site" / dist
        info = site / f"{dist.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
        lines = [
            f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in e.items()) for group, e in groups.items()
        ]
        (info / "entry_points.txt").write_text("\n".join(lines))
        for module, source in modules.items():
            (site / f"{module}.py").write_text(source)
        monkeypatch.syspath_prepend(site)
        return site

    yield distribution
    for name, module in list(sys.modules.items()):
        if str(tmp_path) in str(getattr(module, "__file__", None)):
            del sys.modules[name]
