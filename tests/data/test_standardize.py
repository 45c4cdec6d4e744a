"""Standardisation against plain NumPy."""

import numpy as np
import pytest
import torch

from datk.data import cleaning, rows
from datk.data.cleaning import Cleaning
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


# --- without losing digits -----------------------------------------------------------------------------


def host(standardize, x, numbers=None):
    """Rows as they are read, by the constants of `standardize`."""
    every = np.arange(len(x))
    return standardize.reader(np.zeros(len(x), np.int64) if numbers is None else numbers)(x, every)


Y = np.random.default_rng(0).normal(size=(60, 2))
WHOLE = np.round(20 * Y).astype(np.int64)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (2459000.5 + 0.05 * Y, Y),
        (1e9 + Y, Y),
        (1e-46 * Y, Y),
        (1e-300 * Y, Y),
        (1e300 * Y, Y),
        ((2_000_000_000 + WHOLE).astype(np.int32), WHOLE),
        ((4_000_000_000 + WHOLE).astype(np.uint32), WHOLE),
        (1_700_000_000 + WHOLE, WHOLE),
        (1_700_000_000_123_456_789 + WHOLE, WHOLE),
        (-(2**63) + 1000 + WHOLE, WHOLE),
        (np.uint64(2**64 - 1000) + WHOLE.astype(np.uint64), WHOLE),
        (np.longdouble(1e12) + Y.astype(np.longdouble), Y),
        ((1e5 + WHOLE).astype(np.float32), WHOLE),
        ((1e-42 * Y).astype(np.float32), (1e-42 * Y).astype(np.float32).astype(np.float64) * 1e42),
        ((1e38 * Y).astype(np.float32), Y),
    ],
    ids=lambda x: f"{x.dtype}-{float(x[0, 0]):.3g}",
)
def test_offsets_and_units_cost_no_digits(x, y):
    """Standardised they are what the same values without offset and unit are."""
    train = np.arange(0, 60, 2)
    standardize = fitted(x, train)
    assert not standardize.on_device(x.dtype)
    expected = (y - y[train].mean(axis=0)) / y[train].std(axis=0)
    np.testing.assert_allclose(host(standardize, x), expected, atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float16, np.float32])
def test_the_device_standardises_what_it_holds_without_loss(dtype):
    x = np.random.default_rng(0).integers(0, 2, (20, 2, 3, 3)).astype(dtype)
    standardize = fitted(x, np.arange(20))
    assert standardize.on_device(x.dtype)
    assert standardize.mean.dtype == torch.float32
    np.testing.assert_allclose(standardize(torch.from_numpy(x)), host(standardize, x), atol=1e-6)


def test_float32_far_from_0_is_left_to_the_host():
    """Interpolating such pixels, or rounding their mean, would cost digits that they have."""
    x = (1e5 + np.random.default_rng(0).integers(0, 8, (40, 1, 6, 6))).astype(np.float32)
    standardize = fitted(x, np.arange(40))
    assert not standardize.on_device(x.dtype)
    assert fitted(x - np.float32(1e5), np.arange(40)).on_device(x.dtype)


@pytest.mark.parametrize("piece", [1, 10**9])
def test_sizes_may_differ_between_pieces_and_channels(piece, monkeypatch):
    monkeypatch.setattr(rows, "CHUNK_BYTES", piece)
    y = np.random.default_rng(0).normal(size=(20, 4))
    unit = np.array([1e-250, 1.0, 1e200, 0.0])
    grown = np.where(np.arange(20) < 10, 1e-200, 1.0)[:, None]
    x = y * unit
    x[:, 1:2] *= grown
    standardize = fitted(x, np.arange(20))
    with np.errstate(over="ignore"):
        expected = y[:, [0, 2]] / y[:, [0, 2]].std(axis=0)
    np.testing.assert_allclose(
        host(standardize, x)[:, [0, 2]], expected - expected.mean(axis=0), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        host(standardize, x)[:, 1], (x[:, 1] - x[:, 1].mean()) / x[:, 1].std(), rtol=1e-5, atol=1e-6
    )
    assert (host(standardize, x)[:, 3] == 0).all()


def test_constants_in_float64_are_saved_and_taken_over_whole():
    x = 1_700_000_000_123_456_789 + WHOLE
    standardize = fitted(x, np.arange(60))
    state = standardize.state_dict()
    assert {name: tensor.dtype for name, tensor in state.items()} == dict.fromkeys(
        ("mean", "std", "rest"), torch.float64
    )
    other = Standardize((2,))
    other.load_state_dict(state)
    np.testing.assert_array_equal(host(other, x), host(standardize, x))
    assert not other.on_device(np.dtype(np.uint8))


def test_constants_of_earlier_versions_are_taken_over():
    x = 1e9 + 100 * Y
    standardize = fitted(x, np.arange(60))
    standardize.load_state_dict({"mean": torch.tensor([1e9, 0.0]), "std": torch.tensor([50.0, 1.0])})
    np.testing.assert_allclose(host(standardize, x)[:, 0], (x[:, 0] - 1e9) / 50, rtol=1e-6)
    assert standardize.rest is None
    with pytest.raises(RuntimeError, match="size mismatch"):
        standardize.load_state_dict({"mean": torch.zeros(3).double(), "std": torch.ones(3).double()})


# --- missing values and extremes -----------------------------------------------------------------------


def cleaned(x, train, numbers=None, sources=1, **cleaning):
    standardize = Standardize(x.shape[1:], sources, Cleaning(**cleaning))
    standardize.fit(x, train, numbers)
    return standardize


def with_holes(dtype, marker):
    rng = np.random.default_rng(0)
    x = rng.integers(10, 200, (40, 2, 5, 5)).astype(dtype)
    holes = rng.random(x.shape) < 0.1
    spoiled = x.copy()
    spoiled[holes] = marker
    return x, holes, spoiled


@pytest.mark.parametrize(
    ("dtype", "marker"),
    [
        (np.float32, np.nan),
        (np.float16, np.inf),
        (np.float64, -np.inf),
        (np.float32, 1e30),
        (np.int16, -32768),
        (np.uint16, 65535),
        (np.uint8, 255),
        (np.int64, 2**63 - 1),
    ],
)
@pytest.mark.parametrize("piece", [1, 10**9])
def test_missing_values_count_nowhere_and_are_filled(dtype, marker, piece, monkeypatch):
    monkeypatch.setattr(rows, "CHUNK_BYTES", piece)
    x, holes, spoiled = with_holes(dtype, marker)
    train = np.arange(0, 40, 2)
    standardize = cleaned(spoiled, train, missing=(float(marker),))
    assert not standardize.on_device(spoiled.dtype)
    applied = host(standardize, spoiled)
    for channel in range(2):
        given = x[train, channel][~holes[train, channel]].astype(np.float64)
        expected = (x[:, channel] - given.mean()) / given.std()
        expected[holes[:, channel]] = (np.median(given) - given.mean()) / given.std()
        np.testing.assert_allclose(applied[:, channel], expected, rtol=1e-5, atol=1e-5)
    constant = cleaned(spoiled, train, missing=(float(marker),), fill=7.0)
    mean, std, _, _ = constant.constants()
    filled = np.moveaxis(host(constant, spoiled), 1, -1)[np.moveaxis(holes, 1, -1)]
    np.testing.assert_allclose(np.unique(filled), np.unique(((7 - mean) / std).astype(np.float32)), rtol=1e-6)


def test_several_markers_and_one_that_float32_rounded():
    x, holes, spoiled = with_holes(np.float64, np.float64(np.float32(1e30)))
    spoiled[0, 0, 0, 0], spoiled[1, 1, 1, 1] = np.nan, -999.9
    holes[0, 0, 0, 0] = holes[1, 1, 1, 1] = True
    standardize = cleaned(spoiled, np.arange(40), missing=(1e30, np.nan, -999.9))
    mean, _, _, _ = standardize.constants()
    np.testing.assert_allclose(mean, [x[:, c][~holes[:, c]].mean() for c in range(2)])


def test_values_beyond_percentiles_are_cut_to_them():
    x = np.random.default_rng(0).normal(size=(50, 1, 6, 6))
    x[3, 0, 0, 0], x[4, 0, 1, 1] = 1e30, -1e30
    train = np.arange(40)
    standardize = cleaned(x, train, clip=(1.0, 99.0))
    low, high = np.percentile(x[train], [1, 99])
    cut = np.clip(x, low, high)
    expected = (cut - cut[train].mean()) / cut[train].std()
    np.testing.assert_allclose(host(standardize, x), expected, rtol=1e-5, atol=1e-6)


def test_each_source_is_filled_and_cut_by_its_own_values():
    numbers = np.arange(90) % 3
    x = np.random.default_rng(0).normal(size=(90, 2)) + 100 * numbers[:, None]
    x[[4, 5, 6]] = np.nan
    train = np.arange(60)
    standardize = cleaned(x, train, numbers, 3, missing=(np.nan,), clip=(5.0, 95.0))
    applied = host(standardize, x, numbers)
    for number in range(3):
        own = x[train[numbers[train] == number]]
        low, high = np.nanpercentile(own, [5, 95], axis=0)
        cut = np.clip(own, low, high)
        mean, std = np.nanmean(cut, axis=0), np.nanstd(cut, axis=0)
        expected = np.clip(x[numbers == number], low, high)
        expected = np.where(np.isnan(expected), np.nanmedian(own, axis=0), expected)
        np.testing.assert_allclose(applied[numbers == number], (expected - mean) / std, rtol=1e-5, atol=1e-5)


def test_a_channel_of_missing_values_alone_becomes_0():
    x = np.random.default_rng(0).normal(size=(20, 2))
    x[:, 1] = -999
    applied = host(cleaned(x, np.arange(20), missing=(-999.0,)), x)
    assert (applied[:, 1] == 0).all()
    assert applied[:, 0].std() > 0.9


def test_what_cleans_is_saved_and_taken_over():
    x, _, spoiled = with_holes(np.int16, -32768)
    standardize = cleaned(spoiled, np.arange(40), missing=(-32768.0,), clip=(1.0, 99.0))
    state = standardize.state_dict()
    for other in (Standardize((2, 5, 5)), cleaned(x, np.arange(9), missing=(0.0, 1.0), fill=3.0)):
        other.load_state_dict(state)
        np.testing.assert_array_equal(host(other, spoiled), host(standardize, spoiled))
    plain = {name: state[name].float() for name in ("mean", "std")}
    standardize.load_state_dict(plain)  # of a run that did not clean: what cleans here stays
    assert torch.equal(standardize.missing, state["missing"])
    assert torch.equal(standardize.low, state["low"])


def test_medians_of_many_values_are_those_of_a_sample(monkeypatch):
    monkeypatch.setattr(cleaning, "SAMPLE_VALUES", 4000)
    x = np.random.default_rng(0).normal(size=(20000, 2))
    x[::10] = np.nan
    standardize = cleaned(x, np.arange(20000), missing=(np.nan,))
    again = cleaned(x, np.arange(20000), missing=(np.nan,))
    assert torch.equal(standardize.fill, again.fill)
    assert 0 < standardize.fill.abs().max() < 0.1
    assert not np.isclose(standardize.fill, np.nanmedian(x, axis=0), rtol=1e-9).any()
