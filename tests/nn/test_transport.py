import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datk.nn import sinkhorn_divergence, transport_cost


def cloud(rows, dim, seed, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, dim, generator=generator, dtype=torch.float64) + shift


def naive_cost(x, y, blur):
    """Sinkhorn's algorithm on logarithms, update by update until nothing moves."""
    epsilon = blur**2
    cost = ((x[:, None] - y[None]) ** 2).sum(axis=2) / 2
    f, g = np.zeros(len(x)), np.zeros(len(y))

    def soft_minimum(values):
        """Of each row."""
        low = values.min(axis=1)
        return low - epsilon * np.log(np.exp(-(values - low[:, None]) / epsilon).mean(axis=1))

    for _ in range(20_000):
        before = f
        f = soft_minimum(cost - g)
        g = soft_minimum((cost - f[:, None]).T)
        if np.abs(f - before).max() < 1e-12:
            break
    return f.mean() + g.mean()


def naive_divergence(x, y, blur):
    return naive_cost(x, y, blur) - naive_cost(x, x, blur) / 2 - naive_cost(y, y, blur) / 2


@pytest.mark.parametrize("blur", [0.3, 1.0, 5.0])
@pytest.mark.parametrize(("m", "n"), [(6, 6), (5, 8), (1, 4)])
def test_it_is_sinkhorns_algorithm(m, n, blur):
    x, y = cloud(m, 3, 0), cloud(n, 3, 1, shift=0.7)
    found = float(sinkhorn_divergence(x, y, torch.tensor(blur, dtype=torch.float64), scaling=0.9))
    assert found == pytest.approx(naive_divergence(x.numpy(), y.numpy(), blur), rel=2e-2, abs=1e-3)


def test_more_steps_come_nearer():
    x, y = cloud(8, 2, 0), cloud(8, 2, 1, shift=0.5)
    blur = torch.tensor(0.1, dtype=torch.float64)
    exact = naive_divergence(x.numpy(), y.numpy(), 0.1)
    gaps = [abs(float(sinkhorn_divergence(x, y, blur, scaling)) - exact) for scaling in (0.3, 0.9)]
    assert gaps[1] <= gaps[0]
    assert gaps[1] < 0.01 * exact


def test_moved_clouds_are_half_their_squared_distance_apart():
    x = cloud(10, 4, 0)
    for distance in (0.5, 3.0, 100.0):
        moved = x + torch.tensor([distance, 0, 0, 0])
        found = float(sinkhorn_divergence(x, moved, torch.tensor(0.5, dtype=torch.float64), 0.9))
        assert found == pytest.approx(distance**2 / 2, rel=0.02)


@settings(max_examples=20)
@given(m=st.integers(2, 7), n=st.integers(2, 7), seed=st.integers(0, 99), blur=st.floats(0.2, 3))
def test_it_is_not_negative_and_symmetric(m, n, seed, blur):
    x, y = cloud(m, 3, seed), cloud(n, 3, seed + 100, shift=0.2)
    blur = torch.tensor(blur, dtype=torch.float64)
    forth, back = sinkhorn_divergence(x, y, blur, 0.9), sinkhorn_divergence(y, x, blur, 0.9)
    # Potentials are updated in turn, a constant number of times: what has not converged by then differs.
    torch.testing.assert_close(forth, back, rtol=1e-3, atol=1e-4)
    assert float(forth) > -2e-2


def test_the_gradient_is_that_of_the_optimum():
    x, y = cloud(5, 2, 0), cloud(6, 2, 1, shift=1.0)
    blur, step = torch.tensor(0.8, dtype=torch.float64), 1e-4
    leaf = x.clone().requires_grad_()
    torch.autograd.backward(transport_cost(leaf, y, blur, 0.9))
    for i, a in ((0, 0), (3, 1)):
        ends = []
        for sign in (1, -1):
            moved = x.numpy().copy()
            moved[i, a] += sign * step
            ends.append(naive_cost(moved, y.numpy(), 0.8))
        assert float(leaf.grad[i, a]) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=0.02)


def test_equal_clouds_are_at_their_best():
    x = cloud(6, 3, 0).float().requires_grad_()
    value = sinkhorn_divergence(x, x.detach(), torch.tensor(0.5), 0.9)
    torch.autograd.backward(value)
    assert float(value) == pytest.approx(0, abs=1e-4)
    assert x.grad.abs().max() < 1e-3


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_points_and_far_clouds_stay_finite(scale):
    for x, y in (
        (torch.zeros(4, 3), torch.zeros(5, 3)),
        (torch.zeros(4, 3), torch.ones(5, 3) * scale),
        (cloud(4, 3, 0).float() * scale, cloud(5, 3, 1).float() * scale + 50 * scale),
    ):
        leaf = x.clone().requires_grad_()
        value = sinkhorn_divergence(leaf, y, torch.tensor(0.05), 0.9)
        torch.autograd.backward(value)
        assert value.isfinite()
        assert leaf.grad.isfinite().all()
