"""Seeds by name, and the caller's state."""

import random

import numpy as np
import pytest
import torch

from datk.base.rng import derive_seed, numpy_generator, reproducible, seed_defaults, torch_generator

CPU = torch.device("cpu")


def test_every_name_has_a_seed_of_its_own():
    names = [(0,), (1,), (0, "a"), (0, "b"), (0, "a", 0), (0, "a", 1), (0, "a/0", 2)]
    seeds = {derive_seed(*name) for name in names}
    assert len(seeds) == len(names)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeds_never_change():
    """Another derivation would change every published number."""
    assert derive_seed(0, "source-order", 3) == 7822144895378232178


def test_generators_repeat():
    assert numpy_generator(0, "x").random() == numpy_generator(0, "x").random()
    assert torch.equal(
        torch.rand(3, generator=torch_generator(0, "x")), torch.rand(3, generator=torch_generator(0, "x"))
    )


def test_defaults_are_seeded():
    with torch.random.fork_rng(devices=[]):
        seed_defaults(CPU, 0, "x")
        first = torch.rand(3)
        seed_defaults(CPU, 0, "x")
        assert torch.equal(first, torch.rand(3))


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("fails", [False, True])
def test_the_callers_state_is_restored(mode, fails):
    def state():
        return (
            torch.get_deterministic_debug_mode(),
            torch.backends.cudnn.benchmark,
            torch.utils.deterministic.fill_uninitialized_memory,
            torch.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002
            random.getstate(),
        )

    torch.set_deterministic_debug_mode(mode)
    try:
        before = state()
        try:
            with reproducible(CPU, deterministic=mode == 0):
                assert torch.are_deterministic_algorithms_enabled() == (mode == 0)
                seed_defaults(CPU, 1)
                torch.rand(5)
                if fails:
                    raise RuntimeError
        except RuntimeError:
            assert fails
        assert state() == before
    finally:
        torch.set_deterministic_debug_mode(0)
