"""Every random draw comes from a generator that is derived from the run's seed and named for its use.

A draw then depends on its name alone: adding a loss does not change the split or the backbone's first
weights, and what an epoch draws does not depend on the epochs before it, so resuming needs no saved state.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for one named use, for instance `derive_seed(0, "source-order", epoch)`."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def torch_generator(seed: int, *names: str | int) -> torch.Generator:
    """A torch generator on the CPU, whatever the device: the same draws everywhere."""
    return torch.Generator().manual_seed(derive_seed(seed, *names))


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator for one named use."""
    return np.random.default_rng(derive_seed(seed, *names))


def seed_defaults(device: torch.device, seed: int, *names: str | int) -> None:
    """Seed what dropout and components draw from: torch's own generators of the CPU and of the device.

    Unlike `torch.manual_seed` this leaves those of other devices alone.
    """
    derived = derive_seed(seed, *names)
    torch.default_generator.manual_seed(derived)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(derived)
    elif device.type == "mps":
        torch.mps.manual_seed(derived)


def default_state(device: torch.device) -> torch.Tensor:
    """The state of the generator that dropout on a device draws from."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def restore_state(device: torch.device, state: torch.Tensor) -> None:
    """Put back what `default_state` gave."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


@contextmanager
def reproducible(device: torch.device, deterministic: bool) -> Iterator[None]:
    """Use deterministic kernels if asked to; in the end restore the caller's random state and settings."""
    mode, benchmark = torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark
    memory: Any = torch.utils.deterministic
    fill = memory.fill_uninitialized_memory
    if deterministic and device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            # The same as use_deterministic_algorithms, which imports a compiler for more than a second.
            torch.set_deterministic_debug_mode("warn" if deterministic else "default")
            torch.backends.cudnn.benchmark = not deterministic
            # Nothing here reads memory before writing it, and filling it first costs a sixth of a step.
            memory.fill_uninitialized_memory = False
            yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        torch.backends.cudnn.benchmark = benchmark
        memory.fill_uninitialized_memory = fill
