"""Rows of one domain as tensors on the device: held there if they fit, read a batch ahead otherwise."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datk.interfaces import Array, Samples

CHUNK_BYTES = 32 * 2**20


class Rows(Protocol):
    """Gives batches of rows, in the stored type, [B, *shape] on the device."""

    def batches(self, plan: Tensor) -> Iterator[Tensor]:
        """The rows of each line of plan [steps, B], int64 row numbers on the CPU."""


class ResidentRows:
    """All rows are a tensor on the device."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def batches(self, plan: Tensor) -> Iterator[Tensor]:
        """The rows of each line of plan."""
        for rows in plan.to(self.x.device):
            yield self.x[rows]


class StreamedRows:
    """Rows stay on disk; a thread reads the next batch while the device works on this one."""

    def __init__(self, x: Array, device: torch.device) -> None:
        self.x, self.device = x, device

    def _read(self, rows: npt.NDArray[np.int64]) -> Tensor:
        unique, inverse = np.unique(rows, return_inverse=True)
        return torch.from_numpy(storable(self.x[unique])[inverse])

    def batches(self, plan: Tensor) -> Iterator[Tensor]:
        """The rows of each line of plan."""
        lines = plan.numpy()
        with ThreadPoolExecutor(max_workers=1) as reader:
            ahead = reader.submit(self._read, lines[0])
            for line in [*lines[1:], None]:
                batch = ahead.result()
                if line is not None:
                    ahead = reader.submit(self._read, line)
                yield batch.to(self.device)


def storable(x: npt.ArrayLike) -> npt.NDArray[Any]:
    """The array in a type that a device holds well: uint8 and float16 as they are, all else float32."""
    array = np.asarray(x)
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    kept: Any = array.dtype.type if array.dtype.type in (np.uint8, np.float16) else np.float32
    return np.require(array, dtype=kept, requirements="W")


def storage_bytes(x: Array) -> int:
    """Bytes of all rows in the type that `storable` gives."""
    row = np.zeros((1, *x.shape[1:]), dtype=x.dtype)
    return len_rows(x) * storable(row).nbytes


def len_rows(x: Array) -> int:
    """Number of rows."""
    return x.shape[0]


def chunks(x: Array, rows: npt.NDArray[np.int64] | None = None) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Pieces of bounded size: (position of the first row, [n, *shape]); of the given rows, else of all."""
    row_bytes = int(np.prod(x.shape[1:])) * x.dtype.itemsize
    size = max(1, CHUNK_BYTES // max(1, row_bytes))
    total = len_rows(x) if rows is None else len(rows)
    for start in range(0, total, size):
        stop = min(start + size, total)
        yield start, np.asarray(x[start:stop] if rows is None else x[rows[start:stop]])


def free_memory(device: torch.device) -> int:
    """Bytes that are free on the device; for the CPU, what the system says is available."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable"))
        return int(available.split()[1]) * 1024
    except (OSError, StopIteration):
        return 4 * 2**30  # no such file outside Linux; a modest guess that any current machine has


def open_rows(samples: Samples, device: torch.device, memory_gb: float | None) -> Rows:
    """Hold the rows on the device if they are there already or fit the allowance; stream them otherwise."""
    allowance = memory_gb * 2**30 if memory_gb is not None else free_memory(device) / 2
    held = samples.in_memory and device.type == "cpu"
    size = storage_bytes(samples.x)
    if not held and size > allowance:
        return StreamedRows(samples.x, device)
    if samples.in_memory:
        return ResidentRows(torch.from_numpy(storable(samples.x[:])).to(device).contiguous())
    whole: Tensor | None = None
    for start, chunk in chunks(samples.x):
        piece = torch.from_numpy(storable(chunk))
        if whole is None:
            whole = torch.empty((len_rows(samples.x), *piece.shape[1:]), dtype=piece.dtype, device=device)
        whole[start : start + len(piece)] = piece
    assert whole is not None
    return ResidentRows(whole)
