"""The data path: batches of both domains from memory and from an HDF5 file, against plain data loaders."""

import tempfile
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import h5py
import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.speed.harness import Row, Setting, interleaved, ratio, spreads
from benchmarks.speed.subjects import METHODS, Run
from datk.data.readers import open_array
from datk.data.rows import StreamedRows

ROWS = 3_658


def measure(setting: Setting) -> Iterator[Row]:
    """Seconds for the batches of one epoch; every loader gives standardised float32 images on the device."""
    run = Run(METHODS["mmd"], setting, ROWS)
    data = run.trainer.data
    domains = (data.source, data.target)

    def loaders(workers: int) -> None:
        sets = [
            TensorDataset(torch.from_numpy(samples.x)[torch.from_numpy(domain.split.train)])
            for samples, domain in zip((run.data.pair.source, run.data.pair.target), domains, strict=True)
        ]
        source, target = (
            DataLoader(rows, 128, shuffle=True, num_workers=workers, pin_memory=setting.on_gpu)
            for rows in sets
        )
        for images in zip(source, cycle(target), strict=False):
            for domain, (x,) in zip(domains, images, strict=True):
                domain.standardize(x.to(setting.device, non_blocking=True))

    def batches() -> None:
        for _ in data.batches(0):
            pass

    cases = {
        "resident": batches,
        "DataLoader": lambda: loaders(0),
        "DataLoader, 2 workers": lambda: loaders(2),
    }
    times = interleaved(cases, setting, warm_up=1)
    for loader in ("DataLoader", "DataLoader, 2 workers"):
        yield Row(
            f"batches of an epoch from memory over {loader}", ratio(times, "resident", loader), at_most=1
        )
    with tempfile.TemporaryDirectory() as folder:
        streamed = list(_streamed(run, setting, Path(folder)))
        times = interleaved({"resident": batches, "streamed": lambda: _drain(streamed)}, setting, warm_up=1)
    yield Row(
        "batches of an epoch streamed from HDF5 over those from memory",
        ratio(times, "streamed", "resident"),
        seconds=spreads(times),
        note="a step on a CPU takes longer than streaming its batch, and both go on at once",
    )


def _streamed(run: Run, setting: Setting, folder: Path) -> Iterator[tuple[StreamedRows, torch.Tensor]]:
    """The rows of both domains in a file, chunked as `datk data fetch` does it, with the plan of an epoch."""
    plans = torch.from_numpy(run.data.training.source.split.train)[: 20 * 128].view(20, 128)
    for name, samples in (("source", run.data.pair.source), ("target", run.data.pair.target)):
        path = folder / f"{name}.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("x", data=samples.x, chunks=(3, *samples.x.shape[1:]))
        yield StreamedRows(open_array(str(path), "x"), setting.device), plans


def _drain(streamed: list[tuple[StreamedRows, torch.Tensor]]) -> None:
    for _ in zip(*(rows.batches(plan) for rows, plan in streamed), strict=True):
        pass
