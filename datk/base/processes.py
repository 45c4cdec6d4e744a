"""Several processes that train one model: `torchrun --nproc-per-node N -m datk run ...`.

Every process ("rank") computes its share of each batch; the gradients are averaged, so that all hold the same
parameters at any time. The first one leads: it alone writes and tells. In a single process nothing here does
anything.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from datk.base.devices import resolve_device
from datk.base.environment import whole_number
from datk.base.errors import ConfigError, RunError

PATIENCE = timedelta(minutes=10)
"""For how long a rank waits for the others, which may be reading their data, before it gives up."""


# --- who is there --------------------------------------------------------------------------------------


def started_by_torchrun() -> bool:
    """Whether this process is one of several. Raises `ConfigError` where the environment says nonsense."""
    return whole_number("WORLD_SIZE", 1) > 1


def size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if size() > 1 else 0


def leads() -> bool:
    """Whether this is the process that writes and tells."""
    return rank() == 0


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Join the other processes that torchrun started, if it did.

    Raises:
        ConfigError: a device that not every process can have.
        RunError: the others cannot be reached, or one of them ended.
    """
    if not started_by_torchrun() or size() > 1:
        yield
        return
    mine = resolve_device(own_device(device))
    if mine.type == "cuda":
        torch.cuda.set_device(mine)
    try:
        dist.init_process_group("nccl" if mine.type == "cuda" else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise RunError(f"the other processes cannot be reached ({reason}); start all by torchrun") from error
    try:
        yield
    except RuntimeError as error:
        if not _is_about_others(error):
            raise
        raise RunError(
            f"another one of the {size()} processes ended and says why; --resume goes on with the run"
        ) from error
    else:
        dist.destroy_process_group()


def own_device(name: str) -> str:
    """The device of this process: a GPU for each, where there are GPUs. Raises `ConfigError` if there are
    too few, and for one GPU that all are to share."""
    if not started_by_torchrun() or name in ("cpu", "mps"):
        return name
    if ":" in name:
        raise ConfigError(f"--device {name} is one device for several processes; say cuda, or cpu")
    if not torch.cuda.is_available():
        return "cpu" if name == "auto" else name
    local, count = whole_number("LOCAL_RANK", 0), torch.cuda.device_count()
    if local >= count:
        there = f"{count} CUDA device{'s' * (count > 1)}"
        raise ConfigError(f"process {local + 1} has no GPU: there are {there}; lower --nproc-per-node")
    return f"cuda:{local}"


def _is_about_others(error: RuntimeError) -> bool:
    """Whether a collective failed, because of another process or the network between."""
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()


# --- agreeing ------------------------------------------------------------------------------------------


def wait() -> None:
    """Until all are here."""
    if size() > 1:
        dist.barrier()


def agree(text: str) -> str:
    """What the first process says."""
    if size() == 1:
        return text
    said = _bytes(text) if leads() else torch.zeros(0, dtype=torch.uint8)
    length = torch.tensor([len(said)], device=_device())
    dist.broadcast(length, 0)
    buffer = said.to(_device()) if leads() else torch.zeros(int(length), dtype=torch.uint8, device=_device())
    dist.broadcast(buffer, 0)
    return bytes(buffer.cpu().tolist()).decode()


def demand_same(text: str, what: str) -> None:
    """Raise `RunError`, in every process, if they do not all say the same."""
    differs = torch.tensor([float(agree(text) != text)], device=_device())
    if size() > 1:
        dist.all_reduce(differs)
    if differs.item():
        raise RunError(f"the {size()} processes do not have the same {what}")


def _bytes(text: str) -> Tensor:
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def _device() -> torch.device:
    """Where the backend can send from."""
    nccl = size() > 1 and dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")


# --- sharing work --------------------------------------------------------------------------------------


def check_share(batch: int, rows: str) -> None:
    """Raise `ConfigError` if a batch cannot be dealt evenly."""
    if batch % size():
        good = batch // size() * size()
        advice = f"at most {good}, a multiple of {size()}" if good else f"at least {size()}"
        raise ConfigError(
            f"a batch of {batch} {rows} rows cannot be dealt evenly to {size()} processes; "
            f"set train.batch_size to {advice}, or start fewer processes"
        )


def share(batches: Tensor) -> Tensor:
    """This process's columns of batches [steps, B, ...]: those of all, side by side, are the whole again."""
    return batches.chunk(size(), dim=1)[rank()]


def parts(rows: Any) -> list[Any]:
    """An array of rows as a part for each process, in order."""
    ends = [len(rows) * number // size() for number in range(size() + 1)]
    return [rows[start:end] for start, end in pairwise(ends)]
