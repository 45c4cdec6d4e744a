"""From files to batches: what is read, what is changed, and how much memory it takes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import datk
from datk.data.dataset import prepare
from datk.data.rows import StreamedRows
from tests import build
from tests.toys import TOYS


def write_arrays(folder, kind, dtype, marker=None):
    """Source and target images, channels last, in files of one kind; the options that name them.

    marker: value of the first pixel of every third row.
    """
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = {
        domain: (rng.integers(0, 150, (60, 16, 17, 3)) + 50 * y[:, None, None, None] + shift).astype(dtype)
        for domain, shift in (("source", 0), ("target", 20))
    }
    if marker is not None:
        for images in x.values():
            images[::3, 0, 0] = marker
    if kind == "npy":
        for domain, images in x.items():
            np.save(folder / f"{domain}.npy", images)
            np.save(folder / f"{domain}_y.npy", y)
        names = {f"{d}_x": str(folder / f"{d}.npy") for d in x} | {
            f"{d}_y": str(folder / f"{d}_y.npy") for d in x
        }
        return {"name": "arrays", **names}
    path = folder / f"pair.{kind}"
    arrays = {**x, "y": y}
    if kind == "npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file.create_dataset(
                    name, data=array, chunks=(1, *array.shape[1:]) if array.ndim > 1 else None
                )
    keys = {"source_x": "source", "source_y": "y", "target_x": "target", "target_y": "y"}
    return {"name": "arrays", "source": str(path), "target": str(path), **keys}


def train(pair, out, **options):
    settings = {"train.batch_size": 16, "train.augment": "dihedral", "align.dann.hidden": [4]}
    settings |= {"device": "cpu", **options}
    return datk.run(pair=pair, backbone="deepmerge", align="dann", epochs=2, out=out, set=settings)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_weights_do_not_depend_on_where_the_rows_are(dtype, tmp_path, monkeypatch):
    streamed = 0

    def counted(self, plan, batches=StreamedRows.batches):
        nonlocal streamed
        streamed += 1
        return batches(self, plan)

    monkeypatch.setattr(StreamedRows, "batches", counted)
    results = []
    for kind, memory_gb, streams in [
        ("npz", None, False),
        ("npy", None, False),
        ("npy", 1e-9, True),
        ("h5", None, False),
        ("h5", 1e-9, True),
    ]:
        folder = tmp_path / f"{kind}-{streams}"
        folder.mkdir()
        options = {} if memory_gb is None else {"data.memory_gb": memory_gb}
        streamed = 0
        results.append(train(write_arrays(folder, kind, dtype), folder / "run", **options))
        assert (streamed > 0) == streams
    assert len({result.weights_sha256 for result in results}) == 1
    assert len({result.data_sha256 for result in results}) == 1
    assert all(result.metrics == results[0].metrics for result in results)


def test_missing_values_are_filled_alike_wherever_the_rows_are_and_saved_with_the_model(tmp_path):
    """The run goes on where it was stopped, and its notes say what is odd where nothing was named."""
    results = {}
    for kind, memory_gb in (("npz", 1.0), ("h5", 1.0), ("h5", 1e-9)):
        folder = tmp_path / f"{kind}-{memory_gb}"
        folder.mkdir()
        pair = write_arrays(folder, kind, "int16", marker=-32768)
        clean = {"data.missing": -32768, "data.clip": [1, 99], "data.memory_gb": memory_gb}
        results[folder] = train(pair, folder / "run", **clean)
    assert len({result.weights_sha256 for result in results.values()}) == 1
    saved = load_file(folder / "run" / "checkpoints" / "selected.safetensors")
    for domain in ("source", "target"):
        missing, fill = (saved[f"standardizers.{domain}.{name}"] for name in ("missing", "fill"))
        assert missing.tolist() == [-32768]
        assert fill.shape == (3, 1, 1)
        assert ((fill > 50) & (fill < 170)).all()
    assert not any("-32768" in note for result in results.values() for note in result.notes)
    noted = train(pair, tmp_path / "noted").notes
    assert any("source: the value -32768" in note and "--set data.missing=-32768" in note for note in noted)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_the_weights_do_not_depend_on_where_the_rows_are_on_a_gpu(tmp_path):
    pair = write_arrays(tmp_path, "h5", "uint8")
    memory = {"held": {}, "again": {}, "streamed": {"data.memory_gb": 1e-9}}
    results = [train(pair, tmp_path / name, device="cuda", **options) for name, options in memory.items()]
    assert len({result.weights_sha256 for result in results}) == 1


@pytest.mark.parametrize("kind", ["npz", "npy", "h5"])
@pytest.mark.parametrize("memory_gb", [None, 1e-9])
def test_files_are_never_changed(kind, memory_gb, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    pair = write_arrays(folder, kind, "uint8")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    train(pair, tmp_path / "run", **({} if memory_gb is None else {"data.memory_gb": memory_gb}))
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == before


def test_arrays_in_memory_are_never_changed():
    chosen = build.experiment(
        pair={"name": TOYS + "Toy", "shape": [2, 16, 16]}, train={"augment": "dihedral"}
    )
    pair = chosen.pair.cls(chosen.pair.config)
    before = pair.source.x.copy(), pair.target.x.copy(), pair.source_labels.copy()
    prepared = prepare(pair, build.task_of(chosen), chosen.config, build.CPU)
    for source, target in prepared.training.batches(0):
        for tensor in (source.x, source.y, target.x):
            tensor.zero_()
    assert all(map(np.array_equal, before, (pair.source.x, pair.target.x, pair.source_labels)))


MEASURE = """
import json, sys, threading

import h5py, numpy as np, torch
import datk
from datk.config.resolve import resolve
from datk.data.rows import ResidentRows, StreamedRows, open_rows

folder, pair, cpu = sys.argv[1], json.loads(sys.argv[2]), torch.device("cpu")
torch.set_num_threads(1)

def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) * 1024

def peak(work):
    start, top, done = anonymous(), [0], threading.Event()
    def watch():
        while not done.wait(0.002):
            top[0] = max(top[0], anonymous())
    watcher = threading.Thread(target=watch)
    watcher.start()
    kept = work()
    done.set()
    watcher.join()
    return max(top[0], anonymous()) - start, kept

options = dict(backbone={"name": "mlp", "hidden": [8]}, align="mmd", epochs=1, device="cpu")
tiny = {"name": pair["toy"], "source_rows": 20, "target_rows": 20}
datk.run(pair=tiny, out=f"{folder}/warm", **options)
del pair["toy"]
streamed, _ = peak(lambda: datk.run(
    pair=pair, out=f"{folder}/run", set={"data.memory_gb": 0.01, "train.batch_size": 128}, **options))
chosen = resolve(config={"pair": pair}).pair
samples = chosen.cls(chosen.config).target
held, rows = peak(lambda: open_rows(samples, cpu, 10.0))
assert isinstance(rows, ResidentRows)
print(json.dumps({"streamed": streamed, "held": held}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="measures memory as Linux tells it")
def test_files_larger_than_the_allowance_take_bounded_memory(tmp_path):
    """Two domains of 200 MB each, with 10 MiB allowed. Mapped pages of a file can be dropped at any time, so
    that only anonymous memory counts; holding one of the domains shows that this would be seen."""
    shape = (16384, 32, 32, 3)
    size = 4 * np.prod(shape)
    np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype="float32", shape=shape).flush()
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", shape, "float32", chunks=(1, *shape[1:]))
    np.save(tmp_path / "y.npy", np.arange(shape[0]) % 2)
    pair = {
        "name": "arrays",
        "toy": TOYS + "Toy",
        "source_x": str(tmp_path / "x.npy"),
        "source_y": str(tmp_path / "y.npy"),
        "target": str(tmp_path / "x.h5"),
        "target_x": "x",
    }
    found = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path), json.dumps(pair)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert found.returncode == 0, found.stderr
    measured = json.loads(found.stdout.splitlines()[-1])
    assert measured["held"] > 0.9 * size
    assert measured["streamed"] < 0.5 * size
