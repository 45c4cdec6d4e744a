"""Rows of one domain as tensors on the device: held there if they fit, read a batch ahead otherwise."""

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datk.config.models import RunConfig
from datk.data.readers import as_stored
from datk.interfaces import Array, Samples

CHUNK_BYTES = 4 * 2**20
"""What a piece of the rows may take as float64, in which constants are fitted."""

EVALUATION_BATCH, SMALL_BATCH = 256, 2**20
"""Rows that are evaluated at a time at most, and bytes that as many small rows may take as float32."""

Reader = Callable[[npt.NDArray[Any], npt.NDArray[np.int64]], npt.NDArray[Any]]
"""Makes what a device is to hold of rows [B, *shape] as they are stored and their numbers [B]: float32,
contiguous."""


class Rows(Protocol):
    """Gives batches of rows [B, *shape] on the device, in the stored type or as a `Reader` made them."""

    def batches(self, plan: Tensor) -> Iterator[Tensor]:
        """The rows of each line of plan [steps, B], int64 row numbers on the CPU."""


@runtime_checkable
class Rearranging(Protocol):
    """An array that can be made ready for rows that are asked for at random."""

    def whole_rows(self) -> Array:
        """The same array, of which single rows are fast to read."""


class ResidentRows:
    """All rows are a tensor on the device."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def batches(self, plan: Tensor) -> Iterator[Tensor]:
        """The rows of each line of plan."""
        for rows in plan.to(self.x.device):
            yield self.x.index_select(0, rows)


class StreamedRows:
    """Rows stay where they are; a thread reads the next batch while the device works on this one."""

    def __init__(self, x: Array, device: torch.device, read: Reader | None = None) -> None:
        self.x, self.device, self.read = x, device, read
        self.to_gpu = device.type == "cuda"

    def _read(self, rows: npt.NDArray[np.int64]) -> Tensor:
        unique, inverse = np.unique(rows, return_inverse=True)
        stored = self.x[unique]
        held = storable(stored) if self.read is None else self.read(stored, unique)
        batch = torch.from_numpy(held[inverse])
        return batch.pin_memory() if self.to_gpu else batch

    def batches(self, plan: Tensor) -> Iterator[Tensor]:
        """The rows of each line of plan."""
        lines = plan.numpy()
        with ThreadPoolExecutor(max_workers=1) as reader:
            ahead = reader.submit(self._read, lines[0])
            for line in [*lines[1:], None]:
                batch = ahead.result()
                if line is not None:
                    ahead = reader.submit(self._read, line)
                yield batch.to(self.device, non_blocking=self.to_gpu)


def storable(x: npt.ArrayLike) -> npt.NDArray[Any]:
    """The array in a type that a device holds well: uint8 and float16 as they are, all else float32.

    Always contiguous and writable: the order in memory decides which kernels a convolution takes, so that
    rows read in another order would give other last bits.
    """
    array = np.asarray(x)
    if array.dtype == np.bool_:
        return array.astype(np.uint8, order="C")
    kept: Any = array.dtype.type if array.dtype.type in (np.uint8, np.float16) else np.float32
    return np.require(array, dtype=kept, requirements=("C", "W"))


def chunks(x: Array, rows: npt.NDArray[np.int64] | None = None) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Pieces of bounded size: (position of the first row, [n, *shape]); of the given rows, else of all."""
    x = as_stored(x, "samples")
    size = max(1, CHUNK_BYTES // max(1, 8 * math.prod(x.shape[1:])))
    total = x.shape[0] if rows is None else len(rows)
    for start in range(0, total, size):
        stop = min(start + size, total)
        yield start, np.asarray(x[start:stop] if rows is None else x[rows[start:stop]])


def evaluation_batch(config: RunConfig, shape: tuple[int, ...]) -> int:
    """Rows of a shape that are evaluated at a time: without gradients no batch of training takes more memory
    than that of as many rows, and small rows take little in any case."""
    if config.data.evaluation_batch is not None:
        return config.data.evaluation_batch
    small = SMALL_BATCH // (4 * math.prod(shape))
    return min(EVALUATION_BATCH, max(config.train.batch_size, small))


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


def open_rows(
    samples: Samples, device: torch.device, memory_gb: float | None, read: Reader | None = None
) -> Rows:
    """Hold the rows on the device if they are there already or fit the allowance; stream them otherwise.

    read: what makes float32 of them; by default they are held as `storable` has them.
    """
    x = as_stored(samples.x, "samples")
    sharing = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if device.type == "cpu" else 1
    allowance = memory_gb * 2**30 if memory_gb is not None else free_memory(device) / 2 / sharing
    dtype = torch.float32
    if read is None:
        dtype = torch.from_numpy(storable(np.empty(0, dtype=x.dtype))).dtype
    size = math.prod(x.shape) * dtype.itemsize
    held = samples.in_memory and device.type == "cpu" and read is None
    if not held and size > allowance:
        # Arrays in files may lie so that single rows are slow to read; they know what to do about it.
        return StreamedRows(x.whole_rows() if isinstance(x, Rearranging) else x, device, read)
    if samples.in_memory and read is None:
        return ResidentRows(torch.from_numpy(storable(x[:])).to(device))
    whole = torch.empty(x.shape, dtype=dtype, device=device)
    for start, chunk in chunks(x):
        rows = np.arange(start, start + len(chunk))
        made = storable(chunk) if read is None else read(chunk, rows)
        whole[start : start + len(chunk)] = torch.from_numpy(made)
    return ResidentRows(whole)
