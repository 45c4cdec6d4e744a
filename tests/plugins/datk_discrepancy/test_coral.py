import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datk.base.errors import ConfigError
from datk_discrepancy.coral import CORAL, coral


def naive_coral(source, target):
    """The formula, entry by entry."""

    def covariance(x):
        rows, dim = x.shape
        mean = [sum(x[i, a] for i in range(rows)) / rows for a in range(dim)]
        c = np.empty((dim, dim))
        for a in range(dim):
            for b in range(dim):
                c[a, b] = sum((x[i, a] - mean[a]) * (x[i, b] - mean[b]) for i in range(rows)) / (rows - 1)
        return c

    difference = covariance(source.astype(np.float64)) - covariance(target.astype(np.float64))
    return (difference**2).sum() / (4 * source.shape[1] ** 2)


def draw(rows, dim, seed, dtype=torch.float32, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, dim, generator=generator, dtype=dtype) + 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(max_examples=25)
@given(m=st.integers(2, 6), n=st.integers(2, 6), dim=st.integers(1, 14), seed=st.integers(0, 999))
def test_coral_is_the_formula(dtype, m, n, dim, seed):
    source, target = draw(m, dim, seed, dtype), draw(n, dim, seed + 1000, dtype, scale=2.0)

    value = coral(source, target)

    assert value.dtype == dtype
    assert value.shape == ()
    tolerance = 1e-4 if dtype == torch.float32 else 1e-10
    assert value.item() == pytest.approx(
        naive_coral(source.numpy(), target.numpy()), rel=tolerance, abs=tolerance
    )


@pytest.mark.parametrize("dim", [3, 12])
def test_the_gradient_is_that_of_finite_differences(dim):
    source, target = draw(3, dim, 0, torch.float64), draw(5, dim, 1, torch.float64)
    assert torch.autograd.gradcheck(coral, (source.requires_grad_(), target.requires_grad_()))


@pytest.mark.parametrize("dim", [3, 40])
def test_only_second_moments_count(dim):
    x = draw(10, dim, 0)
    assert coral(x, x + 5).item() == pytest.approx(0, abs=1e-6)
    assert coral(x, 2 * x).item() > 0.01


@pytest.mark.parametrize("shift", [0.0, 1e3, 1e4])
@pytest.mark.parametrize(("m", "n", "dim"), [(4, 4, 20), (7, 5, 3), (6, 6, 12), (16, 24, 300)])
def test_how_far_apart_the_domains_are_does_not_matter(m, n, dim, shift):
    source, target = draw(m, dim, 0) + shift, draw(n, dim, 1)
    source.requires_grad_()
    target.requires_grad_()
    exact = [x.detach().double().requires_grad_() for x in (source, target)]
    expected = (torch.cov(exact[0].T) - torch.cov(exact[1].T)).square().sum() / (4 * dim**2)

    value = coral(source, target)

    assert value.item() == pytest.approx(expected.item(), rel=2e-6)
    found = torch.autograd.grad(value, (source, target))
    for slope, truth in zip(found, torch.autograd.grad(expected, exact), strict=True):
        assert (slope - truth).norm() < 2e-6 * truth.norm()


@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_equal_covariances_are_at_no_distance_and_never_at_less_than_none(shift):
    for seed in range(20):
        source = draw(6, 50, seed, scale=10.0).requires_grad_()
        target = source.detach() + shift
        value = coral(source, target)
        exact = naive_coral(source.detach().numpy(), target.numpy())  # the shift has rounded the target
        size = torch.cov(target.double().T).square().sum().item() / (4 * 50**2)
        assert value >= 0
        assert value.item() == pytest.approx(exact, abs=1e-6 * size)
        (slope,) = torch.autograd.grad(value, source)
        assert slope.isfinite().all()


def test_a_value_that_rounding_made_negative_has_its_gradient():
    """What is taken off is a constant: near equal covariances the gradient is that of the formula."""
    pulled = 0
    for seed in range(40):
        x = draw(6, 50, seed)
        y = (x + 1e-4 * draw(6, 50, seed + 100)).requires_grad_()
        value = coral(x, y)
        (slope,) = torch.autograd.grad(value, y)
        exact = y.detach().double().requires_grad_()
        expected = (torch.cov(x.double().T) - torch.cov(exact.T)).square().sum() / (4 * 50**2)
        (truth,) = torch.autograd.grad(expected, exact)
        assert torch.cosine_similarity(slope.double().flatten(), truth.flatten(), dim=0) > 0.99
        pulled += int(value == 0)
    assert pulled > 0


def test_many_features_need_no_covariance_matrix():
    dim = 200_000  # a covariance matrix would take 160 GB
    assert coral(draw(4, dim, 0), draw(4, dim, 1)).isfinite()


def test_one_row_has_no_covariance():
    with pytest.raises(ConfigError, match="two rows of each domain in a batch, not 4 and 1"):
        coral(draw(4, 3, 0), draw(1, 3, 1))


def test_the_term_is_the_function_of_the_features(model, views, step):
    source, target = draw(4, 6, 0), draw(5, 6, 1)
    loss = CORAL(CORAL.Config(scale="paper"), model(dim=6))(*views(source, target), step())
    assert loss.item() == pytest.approx(naive_coral(source.numpy(), target.numpy()), rel=1e-4)


def covariance(x, weights=None):
    """Unbiased, of rows that count by weights, element by element."""
    weights = np.ones(len(x)) if weights is None else weights
    mean = sum(w * row for w, row in zip(weights, x, strict=True)) / weights.sum()
    total = sum(w * np.outer(row - mean, row - mean) for w, row in zip(weights, x, strict=True))
    return total / (weights.sum() - (weights**2).sum() / weights.sum())


@pytest.mark.parametrize(("rows", "dim"), [((6, 9), 3), ((4, 5), 12)])
@pytest.mark.parametrize("weighted", [False, True])
def test_relative_coral_is_the_distance_beside_the_size_of_the_covariances(rows, dim, weighted):
    source, target = (draw(n, dim, seed).double() for seed, n in enumerate(rows))
    weights = torch.rand(rows[0], dtype=torch.float64) if weighted else None
    if weights is not None:
        weights[1] = 0
    one = covariance(source.numpy(), None if weights is None else weights.numpy())
    other = covariance(target.numpy())
    expected = np.square(one - other).sum() / (np.linalg.norm(one) * np.linalg.norm(other))
    assert coral(source, target, "relative", weights).item() == pytest.approx(expected, rel=1e-9)
    assert coral(1000 * source, 1000 * target, "relative", weights).item() == pytest.approx(expected)


def test_equal_weights_are_none():
    source, target = draw(7, 4, 0).double(), draw(5, 4, 1).double()
    ones = torch.ones(7, dtype=torch.float64)
    assert coral(source, target, weights=ones).item() == pytest.approx(coral(source, target).item())


@pytest.mark.parametrize("dim", [3, 40])
@pytest.mark.parametrize("collapsed", ["source", "target", "both", "weights", "all but one"])
def test_what_has_collapsed_has_a_small_value_and_a_finite_gradient(dim, collapsed):
    source, target = draw(6, dim, 0), draw(5, dim, 1)
    source = torch.ones_like(source) if collapsed in ("source", "both") else source
    target = torch.ones_like(target) if collapsed in ("target", "both") else target
    weights = {"weights": torch.zeros(6), "all but one": torch.eye(6)[0]}.get(collapsed)
    source, target = source.requires_grad_(), target.requires_grad_()
    value = coral(source, target, "relative", weights)
    value.backward()
    assert 0 <= value <= 20
    assert source.grad.isfinite().all()
    assert target.grad.isfinite().all()


@pytest.mark.parametrize("dim", [3, 40])
@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1e3, 1e5])
def test_it_does_not_depend_on_the_unit_in_float32(dim, unit):
    source, target = draw(6, dim, 0), draw(5, dim, 1)
    value = coral(source, target, "relative").item()
    assert coral(unit * source, unit * target, "relative").item() == pytest.approx(value, rel=1e-4)
