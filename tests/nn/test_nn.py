"""Parts for authors, against naive versions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from datk.nn import (
    WARM_UP,
    centred,
    joined,
    joint_distances,
    mlp,
    ramp,
    reverse_gradient,
    squared_distances,
    squared_distances_of_two,
)
from datk.testing import views


@pytest.mark.parametrize("coefficient", [None, 0.3, torch.tensor(0.3)])
def test_the_gradient_is_reversed(coefficient):
    x = torch.arange(6.0).view(2, 3).requires_grad_()
    y = reverse_gradient(x) if coefficient is None else reverse_gradient(x, coefficient)
    assert torch.equal(x, y)
    (y.square()).sum().backward()
    torch.testing.assert_close(x.grad, -(1.0 if coefficient is None else 0.3) * 2 * x.detach())


@given(st.floats(0, 1))
def test_ramps(progress):
    p = torch.tensor(progress, dtype=torch.float64)
    assert ramp("constant", p) == 1
    assert ramp("linear", p) == p
    assert float(ramp("dann", p)) == pytest.approx(2 / (1 + np.exp(-10 * progress)) - 1, abs=1e-12)
    late = max(0.0, (progress - WARM_UP) / (1 - WARM_UP))
    assert float(ramp("warm-up", p)) == pytest.approx(2 / (1 + np.exp(-10 * late)) - 1, abs=1e-12)
    assert progress > WARM_UP or ramp("warm-up", p) == 0


def test_an_unknown_ramp():
    with pytest.raises(KeyError):
        ramp("cubic", torch.zeros(()))


def test_a_ramp_gives_a_tensor_of_its_own():
    """The progress is changed in place at the next step."""
    p = torch.tensor(0.5)
    value = ramp("linear", p)
    p.fill_(0.9)
    assert value == 0.5


def test_mlp_layers():
    kinds = [type(layer) for layer in mlp([5, 4, 3, 2], dropout=0.5)]
    assert kinds == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert [type(layer) for layer in mlp([5, 2])] == [nn.Linear]
    assert mlp([5, 4, 2])(torch.zeros(7, 5)).shape == (7, 2)


@given(st.integers(1, 20), st.integers(1, 10), st.floats(-1e3, 1e3), st.integers(0, 2**32))
def test_squared_distances_against_a_loop(rows, dim, offset, seed):
    x = np.random.default_rng(seed).normal(size=(rows, dim)) + offset
    expected = [[((a - b) ** 2).sum() for b in x] for a in x]
    found = squared_distances(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-10 * max(1.0, abs(offset)))
    assert (np.diag(found) == 0).all()
    assert (squared_distances(torch.from_numpy(x).float()) >= 0).all()


def test_squared_distances_of_equal_rows_have_a_gradient():
    x = torch.ones(3, 2, requires_grad=True)
    squared_distances(x).sum().backward()
    assert torch.isfinite(x.grad).all()


@given(st.integers(1, 12), st.integers(1, 6), st.integers(0, 999))
def test_the_gradient_of_squared_distances_is_that_of_a_broadcast(rows, dim, seed):
    rng = np.random.default_rng(seed)
    x, weights = (
        torch.from_numpy(rng.normal(size=(rows, dim)) + 5),
        torch.from_numpy(rng.normal(size=(rows, rows))),
    )
    x.requires_grad_()
    (found,) = torch.autograd.grad((weights * squared_distances(x)).sum(), x)
    broadcast = (x[:, None] - x[None]).square().sum(dim=-1)
    (expected,) = torch.autograd.grad((weights * broadcast).sum(), x)
    torch.testing.assert_close(found, expected)


def test_squared_distances_can_be_differentiated_twice():
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(squared_distances, x)


@pytest.mark.parametrize("gap", [0.0, 1e3, 1e4, 1e6])
@pytest.mark.parametrize("dim", [3, 200])
def test_distances_within_a_cloud_do_not_feel_how_far_the_other_is(gap, dim):
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(11, dim))).float()
    x[:4] += gap
    x.requires_grad_()
    weights = torch.from_numpy(np.random.default_rng(1).normal(size=(11, 11))).float()
    found = squared_distances_of_two(x, 4)
    exact = x.detach().double().requires_grad_()
    expected = (exact[:, None] - exact[None]).square().sum(dim=-1)
    assert (found.diagonal() == 0).all()
    for rows in (slice(4), slice(4, None)):
        torch.testing.assert_close(
            found[rows, rows].double(), expected[rows, rows], rtol=2e-6, atol=1e-6 * dim
        )
    torch.testing.assert_close(found.double(), expected, rtol=2e-6, atol=1e-6 * dim)
    within = torch.block_diag(torch.ones(4, 4), torch.ones(7, 7)) * weights
    for weight in (weights, within):
        (slope,) = torch.autograd.grad((weight * squared_distances_of_two(x, 4)).sum(), x)
        distances = (exact[:, None] - exact[None]).square().sum(dim=-1)
        (truth,) = torch.autograd.grad((weight.double() * distances).sum(), exact)
        torch.testing.assert_close(
            slope.double(), truth, rtol=1e-5, atol=1e-5 * max(1.0, truth.abs().max().item())
        )


def test_distances_of_two_clouds_are_those_of_all_rows_and_can_be_differentiated_twice():
    x = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    for m in (1, 3, 6):
        torch.testing.assert_close(squared_distances_of_two(x, m), squared_distances(x))
    assert torch.autograd.gradgradcheck(lambda rows: squared_distances_of_two(rows, 3), x)


def test_centred_rows_have_no_mean_however_far_away_they_were():
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)) + 12345.678
    exact = x.double() - x.double().mean(dim=0)
    torch.testing.assert_close(centred(x).double(), exact, rtol=0, atol=2e-6)


def test_views_made_apart_are_joined_by_copying():
    source, target = views(source_rows=3, target_rows=2)
    expected = torch.cat([source.features, target.features])
    assert torch.equal(joined(source, target), expected)
    torch.testing.assert_close(joint_distances(source, target), squared_distances(expected))
    assert source.shared == {}


def test_distances_asked_for_without_gradient_do_not_take_it_from_others():
    source, target = views()
    target = replace(target, shared=source.shared)
    with torch.no_grad():
        assert not joint_distances(source, target).requires_grad
    assert joint_distances(source, target).requires_grad
