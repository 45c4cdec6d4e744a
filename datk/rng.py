"""Every random draw comes from a generator that is derived from the run's seed and named for its use.

A draw then depends on its name alone: adding a loss does not change the split or the backbone's first
weights, and what an epoch draws does not depend on the epochs before it, so resuming needs no saved state.
"""

import hashlib

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
