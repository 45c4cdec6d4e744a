"""Which device a run uses, and how the CPU's memory is held meanwhile."""

import ctypes
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

from datk.base.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """The device for `auto|cpu|cuda|cuda:N|mps`; `auto` is CUDA where there is one, else the CPU.

    Raises `ConfigError` for a name that is none of these and for a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    match = re.fullmatch(r"cpu|mps|cuda(?::([0-9]+))?", name)
    if match is None:
        raise ConfigError(f"unknown device '{name}'; use auto, cpu, cuda, cuda:N or mps")
    if name.startswith("cuda"):
        if not torch.cuda.is_available():
            raise ConfigError(f"device '{name}' asked for, but there is no CUDA device; use --device cpu")
        if int(match[1] or 0) >= torch.cuda.device_count():
            raise ConfigError(
                f"device '{name}' is not there; there are {torch.cuda.device_count()}, from cuda:0"
            )
    if name == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device 'mps' asked for, but there is none; use --device cpu")
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """The device's name for the record: `cpu`, or the kind and model of an accelerator."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
"""Options of glibc's mallopt, see its manual page."""


@contextmanager
def reusing_memory(device: torch.device) -> Iterator[None]:
    """Keep what is freed for the next tensors, where a CPU computes and the C library is glibc.

    By default every large tensor is mapped anew and given back when it is freed, and the system clears each
    of its pages on first use: a third of the time of a step of convolutions. In the end all is given back.
    """
    libc = None
    if device.type == "cpu" and sys.platform == "linux":
        with suppress(OSError):
            libc = ctypes.CDLL("libc.so.6")
    if libc is None:
        yield
        return
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        libc.mallopt(M_MMAP_MAX, 65536)
        libc.mallopt(M_MMAP_THRESHOLD, 2**25)  # what the C library's own adaptation ends at
        libc.mallopt(M_TRIM_THRESHOLD, 2**26)
        libc.malloc_trim(0)
