import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.utils._python_dispatch import TorchDispatchMode

from datk.base.errors import ConfigError
from datk_discrepancy.mmd import BANDWIDTHS, MMD, kernel_sum, median_distance, mmd

FIXED = BANDWIDTHS["fixed"]


def naive_mmd(source, target, bandwidths, estimator, bandwidth):
    """The formula, pair by pair."""
    joined = np.concatenate([source, target]).astype(np.float64)
    factor = 1.0
    if bandwidth == "median":
        pairs = sorted(((joined[i] - joined[j]) ** 2).sum() for i in range(len(joined)) for j in range(i))
        factor = pairs[(len(pairs) - 1) // 2]

    def mean_kernel(xs, ys, skip_same):
        values = []
        for i, x in enumerate(xs.astype(np.float64)):
            for j, y in enumerate(ys.astype(np.float64)):
                if skip_same and i == j:
                    continue
                d2 = ((x - y) ** 2).sum()
                values.append(sum(math.exp(-d2 / (2 * s * factor)) for s in bandwidths))
        return np.mean(values)

    unbiased = estimator == "unbiased"
    within = mean_kernel(source, source, unbiased) + mean_kernel(target, target, unbiased)
    return within - 2 * mean_kernel(source, target, False)


def draw(rows, dim, seed, dtype=torch.float32, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, dim, generator=generator, dtype=dtype) + shift


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
@pytest.mark.parametrize("bandwidth", ["fixed", "median"])
@settings(max_examples=15)
@given(m=st.integers(2, 7), n=st.integers(2, 7), dim=st.integers(4, 30), seed=st.integers(0, 999))
def test_mmd_is_the_formula(dtype, estimator, bandwidth, m, n, dim, seed):
    source, target = draw(m, dim, seed, dtype), draw(n, dim, seed + 1000, dtype, shift=0.5)
    bandwidths = BANDWIDTHS[bandwidth]

    value = mmd(source, target, bandwidths, estimator, bandwidth)

    assert value.dtype == dtype
    assert value.shape == ()
    expected = naive_mmd(source.numpy(), target.numpy(), bandwidths, estimator, bandwidth)
    assert value.item() == pytest.approx(expected, abs=1e-4 if dtype == torch.float32 else 1e-10)


def test_the_kernels_are_those_of_the_paper():
    narrow = tuple(10.0**power for power in range(-6, 0))
    wide = tuple(10.0**power for power in range(2, 7))
    assert pytest.approx((*narrow, 1, 5, 10, 15, 20, 25, 30, 35, *wide)) == FIXED


def test_one_row_per_domain_has_a_biased_estimate_only():
    source, target = draw(1, 4, 0), draw(1, 4, 1)
    expected = naive_mmd(source.numpy(), target.numpy(), FIXED, "biased", "fixed")
    assert mmd(source, target).item() == pytest.approx(expected, abs=1e-4)
    with pytest.raises(ConfigError, match=r"two rows of each domain in a batch, not 1 and 3"):
        mmd(source, draw(3, 4, 1), estimator="unbiased")


@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
def test_the_gradient_is_that_of_finite_differences(estimator):
    source, target = draw(3, 4, 0, torch.float64), draw(5, 4, 1, torch.float64)
    assert torch.autograd.gradcheck(
        lambda s, t: mmd(s, t, estimator=estimator), (source.requires_grad_(), target.requires_grad_())
    )


def test_the_median_is_held_constant_by_the_gradient():
    source, target = draw(4, 6, 0, torch.float64), draw(4, 6, 1, torch.float64)
    source.requires_grad_()
    joined = torch.cat([source, target]).detach()
    factor = median_distance(torch.cdist(joined, joined) ** 2).item()

    (by_median,) = torch.autograd.grad(mmd(source, target, (0.5, 2), bandwidth="median"), source)
    (by_hand,) = torch.autograd.grad(mmd(source, target, (0.5 * factor, 2 * factor)), source)

    torch.testing.assert_close(by_median, by_hand)


def test_the_kernel_sum_has_no_second_derivative():
    distances = torch.rand(3, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match="differentiated only once"):
        torch.autograd.grad(kernel_sum(distances, torch.ones(1)).sum(), distances, create_graph=True)


def test_distances_beyond_every_bandwidth_leave_no_trace():
    distances = torch.tensor([0.0, 1e3, 1e30], requires_grad=True)
    total = kernel_sum(distances, torch.tensor([1e-6, 1.0]))
    total[1:].sum().backward()
    assert total.tolist() == pytest.approx([2.0, 0.0, 0.0], abs=1e-30)
    assert distances.grad.abs().max() < 1e-25


def test_the_median_counts_every_pair_of_different_rows_once():
    x = torch.tensor([[0.0], [1.0], [3.0], [7.0]])  # squared distances 1, 4, 9, 16, 36, 49
    assert median_distance((x - x.T) ** 2).item() == 9
    assert median_distance((x[:3] - x[:3].T) ** 2).item() == 4


def test_the_median_makes_the_scale_of_the_features_irrelevant():
    source, target = draw(6, 5, 0), draw(8, 5, 1, shift=1.0)
    values = [mmd(c * source, c * target, (0.5, 1, 2), bandwidth="median") for c in (1e-2, 1.0, 1e3)]
    assert values[0].item() == pytest.approx(values[1].item(), rel=1e-4)
    assert values[2].item() == pytest.approx(values[1].item(), rel=1e-4)


def test_collapsed_features_have_no_discrepancy():
    source, target = torch.ones(4, 5, requires_grad=True), torch.ones(3, 5)
    loss = mmd(source, target, (0.5, 1, 2), bandwidth="median")
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert (source.grad == 0).all()


@pytest.mark.parametrize(
    ("batch", "dim", "floor"), [(32, 2592, 0.980), (64, 2592, 0.490), (128, 2592, 0.245), (128, 256, 0.226)]
)
def test_one_distribution_gives_the_documented_floor_and_zero_without_bias(batch, dim, floor):
    source, target = draw(batch, dim, 0).relu(), draw(batch, dim, 1).relu()
    assert mmd(source, target).item() == pytest.approx(floor, abs=0.005)
    assert mmd(source, target, estimator="unbiased").item() == pytest.approx(0, abs=0.005)


def test_following_the_gradient_draws_the_domains_together():
    source, target = draw(64, 8, 0), draw(64, 8, 1, shift=1.0).requires_grad_()
    optimizer = torch.optim.Adam([target], lr=0.1)
    before = mmd(source, target, estimator="unbiased").item()
    for _ in range(20):
        optimizer.zero_grad()
        mmd(source, target).backward()
        optimizer.step()
    assert mmd(source, target, estimator="unbiased").item() < 0.2 * before


class _Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that any operation returned."""

    size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [out] if isinstance(out, torch.Tensor) else []
        self.size = max([self.size, *(tensor.numel() for tensor in tensors)])
        return out


@pytest.mark.parametrize("bandwidth", ["fixed", "median"])
def test_nothing_larger_than_features_and_one_gram_matrix_is_made(bandwidth):
    source, target = draw(20, 1000, 0).requires_grad_(), draw(30, 1000, 1).requires_grad_()
    with _Largest() as largest:
        mmd(source, target, bandwidth=bandwidth).backward()
    assert largest.size == 50 * 1000


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kernels": "sum"},
        {"bandwidth": "fixed", "estimator": "biased", "kernels": "sum"},
        {"bandwidth": "fixed"},
        {"bandwidths": (0.3, 4)},
    ],
)
def test_the_term_binds_its_options(options, model, views, step):
    config = MMD.Config(**options)
    source, target = draw(4, 6, 0), draw(5, 6, 1)

    loss = MMD(config, model(dim=6))(*views(source, target), step())

    bandwidths = options.get("bandwidths", BANDWIDTHS[config.bandwidth])
    expected = naive_mmd(source.numpy(), target.numpy(), bandwidths, config.estimator, config.bandwidth)
    expected /= len(bandwidths) if config.kernels == "mean" else 1
    assert loss.item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
@pytest.mark.parametrize("weights", [(1, 1, 1, 1, 1, 1), (0.2, 3, 0, 1, 0.5, 2)])
def test_rows_count_by_their_weights(estimator, weights):
    """Against sums over all pairs of rows, weight by weight."""
    source, target = draw(6, 3, 0).double().numpy(), draw(4, 3, 1).double().numpy()

    def kernel(a, b):
        return sum(math.exp(-((a - b) ** 2).sum() / (2 * s)) for s in (0.5, 3.0))

    def mean(rows, other, own, others, same):
        pairs = [
            (w * v, kernel(a, b))
            for i, (a, w) in enumerate(zip(rows, own, strict=True))
            for j, (b, v) in enumerate(zip(other, others, strict=True))
            if not (same and i == j and estimator == "unbiased")
        ]
        return sum(w * k for w, k in pairs) / sum(w for w, _ in pairs)

    ones = (1,) * len(target)
    expected = mean(source, source, weights, weights, True) + mean(target, target, ones, ones, True)
    expected -= 2 * mean(source, target, weights, ones, False)
    value = mmd(
        torch.from_numpy(source),
        torch.from_numpy(target),
        (0.5, 3.0),
        estimator,
        weights=torch.tensor(weights, dtype=torch.float64),
    )
    assert value.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("weights", [(0.0,) * 6, (0, 0, 1, 0, 0, 0)])
def test_a_batch_in_which_hardly_a_row_counts_has_a_finite_gradient(weights):
    source = draw(6, 3, 0).requires_grad_()
    mmd(
        source, draw(4, 3, 1), bandwidth="median", estimator="unbiased", weights=torch.tensor(weights)
    ).backward()
    assert source.grad.isfinite().all()


@pytest.mark.parametrize(
    "options",
    [
        {"bandwidths": ()},
        {"bandwidths": (1.0, 0.0)},
        {"bandwidths": (-1.0,)},
        {"bandwidths": (math.inf,)},
        {"bandwidth": "mean"},
        {"estimator": "best"},
        {"weight": -1},
    ],
)
def test_options_that_cannot_hold_are_refused(options):
    with pytest.raises(ValidationError):
        MMD.Config(**options)


def test_the_term_can_be_compiled_as_one_graph():
    source, target = draw(4, 6, 0).requires_grad_(), draw(5, 6, 1)
    compiled = torch.compile(mmd, fullgraph=True, backend="aot_eager")
    loss = compiled(source, target)
    torch.testing.assert_close(loss, mmd(source, target))
    torch.testing.assert_close(
        torch.autograd.grad(loss, source), torch.autograd.grad(mmd(source, target), source)
    )
