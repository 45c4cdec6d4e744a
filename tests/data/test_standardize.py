"""Standardisation against plain NumPy."""

import numpy as np
import pytest
import torch

from datk.data import rows
from datk.data.standardize import Standardize


def fitted(x, train):
    standardize = Standardize(x.shape[1:])
    standardize.fit(x, train)
    return standardize


@pytest.mark.parametrize("shape", [(50, 3, 4, 5), (50, 7)])
@pytest.mark.parametrize("piece", [1, 100, 10**9])
def test_constants_are_those_of_the_training_rows(shape, piece, monkeypatch):
    monkeypatch.setattr(rows, "CHUNK_BYTES", piece)
    rng = np.random.default_rng(0)
    x = (rng.normal(size=shape) * rng.uniform(1, 9, (shape[1], *[1] * (len(shape) - 2)))).astype(
        np.float32
    ) + 5
    train = np.arange(0, 50, 2)
    x[1::2] += 1000
    standardize = fitted(x, train)
    axes = (0, *range(2, len(shape)))
    np.testing.assert_allclose(
        standardize.mean.flatten(), x[train].astype(np.float64).mean(axis=axes), rtol=1e-6
    )
    np.testing.assert_allclose(
        standardize.std.flatten(), x[train].astype(np.float64).std(axis=axes), rtol=1e-6
    )
    applied = standardize(torch.from_numpy(x[train])).numpy()
    np.testing.assert_allclose(applied.mean(axis=axes), 0, atol=1e-5)
    np.testing.assert_allclose(applied.std(axis=axes), 1, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16, np.float64])
def test_any_stored_type_comes_out_as_float32(dtype):
    x = np.random.default_rng(0).integers(0, 200, (20, 2, 3, 3)).astype(dtype)
    standardize = fitted(x, np.arange(20))
    applied = standardize(torch.from_numpy(x))
    assert applied.dtype == torch.float32
    expected = (x - x.mean(axis=(0, 2, 3), dtype=np.float64, keepdims=True)) / x.std(
        axis=(0, 2, 3), dtype=np.float64, keepdims=True
    )
    np.testing.assert_allclose(applied, expected, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e20])
def test_a_channel_without_spread_is_centred_only(value):
    x = np.random.default_rng(0).normal(size=(30, 2, 3, 3)).astype(np.float32)
    x[:, 1] = value
    standardize = fitted(x, np.arange(30))
    assert standardize.std[1] == 1
    assert standardize(torch.from_numpy(x))[:, 1].abs().max() <= abs(value) * 1e-6


def test_the_unit_does_not_matter():
    """Fluxes in W / m^2 are of the order of 1e-18, and vary all the same."""
    x = np.random.default_rng(0).normal(3, 1, (30, 5)).astype(np.float32)
    train = np.arange(30)
    plain = fitted(x, train)(torch.from_numpy(x))
    tiny = x * np.float32(2.0**-60)
    np.testing.assert_allclose(fitted(tiny, train)(torch.from_numpy(tiny)), plain, rtol=1e-5)


def test_constants_are_part_of_the_state():
    state = Standardize((3, 8, 8)).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == {
        "mean": (3, 1, 1),
        "std": (3, 1, 1),
    }


def test_several_sources_have_constants_of_their_own(monkeypatch):
    monkeypatch.setattr(rows, "CHUNK_BYTES", 8 * 6 * 5)
    rng = np.random.default_rng(0)
    numbers = rng.integers(3, size=90)
    x = rng.normal(size=(90, 5)) * (1 + numbers[:, None]) + 10 * numbers[:, None]
    train = np.flatnonzero(rng.random(90) < 0.7)
    standardize = Standardize((5,), sources=3)
    standardize.fit(x, train, numbers)
    applied = standardize(torch.from_numpy(x), torch.from_numpy(numbers)).numpy()
    for row in range(90):
        own = x[train[numbers[train] == numbers[row]]]
        np.testing.assert_allclose(applied[row], (x[row] - own.mean(axis=0)) / own.std(axis=0), atol=1e-4)
