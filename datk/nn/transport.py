"""Optimal transport between two clouds of rows, with entropy: Sinkhorn's algorithm on logarithms."""

import math

import torch
from torch import Tensor

ITERATIONS = 20
"""At the last blur, after one at each larger one: more change the divergence by less than a percent."""


def _potentials(cost: Tensor, epsilons: Tensor) -> tuple[Tensor, Tensor]:
    """Dual potentials f [M] and g [N] of uniform weights for costs [M, N], without gradient.

    Both are updated at once from their averages with the last ones, which also converges for equal clouds
    (Feydy et al. 2019, section 3.3); epsilons [I] decrease.
    """
    m, n = cost.shape
    f, g = cost.new_zeros(m), cost.new_zeros(n)

    def soft_minimum(cost: Tensor, potential: Tensor, epsilon: Tensor) -> Tensor:
        """-eps log mean_j exp((potential_j - cost_ij) / eps) over the columns."""
        return -epsilon * (torch.logsumexp((potential - cost) / epsilon, dim=1) - math.log(len(potential)))

    for epsilon in epsilons:
        f, g = (
            (f + soft_minimum(cost, g, epsilon)) / 2,
            (g + soft_minimum(cost.mT, f, epsilon)) / 2,
        )
    # One more of each from the other, so that the gradient is that of the optimum.
    last = epsilons[-1]
    return soft_minimum(cost, g, last), soft_minimum(cost.mT, f, last)


def _scaling(largest: Tensor, blur: Tensor, scaling: float) -> Tensor:
    """Blurs to the power 2 from the diameter of the clouds down to the last one: [I], of constant length.

    The number of steps is that for the smallest blur that is asked for, a hundredth of the diameter, so that
    no value has to be read.
    """
    steps = math.ceil(math.log(100) / -math.log(scaling))
    powers = scaling ** torch.arange(steps, device=blur.device, dtype=blur.dtype)
    blurs = torch.maximum(largest * powers, blur)
    return torch.cat([blurs, blur.expand(ITERATIONS)]).square()


def transport_cost(source: Tensor, target: Tensor, blur: Tensor, scaling: float = 0.5) -> Tensor:
    """Entropic transport cost of uniform clouds source [M, D] and target [N, D] for |x - y|^2 / 2; 0-d.

    min_P <P, C> + blur^2 KL(P | uniform x uniform), by its dual mean f + mean g at the potentials of
    Sinkhorn's algorithm; by the envelope theorem its gradient is that of one last update with the potentials
    held constant.

    Args:
        blur: 0-d, in units of the rows' distances, at least a hundredth of the clouds' diameter to converge.
        scaling: factor between one blur and the next on the way down.
    """
    cost = _squared_distances(source, target) / 2
    held = cost.detach()
    epsilons = _scaling((2 * held.max()).sqrt(), blur.detach(), scaling)
    f, g = _potentials(held, epsilons)
    epsilon = epsilons[-1]
    # P_ij / (1/M 1/N) = exp((f_i + g_j - C_ij) / eps): the derivative of the cost by C_ij.
    plan = ((f[:, None] + g[None, :] - held) / epsilon).exp() / held.numel()
    return f.mean() + g.mean() + (plan * (cost - held)).sum()


def _squared_distances(source: Tensor, target: Tensor) -> Tensor:
    """|x_i - y_j|^2 [M, N], whose gradient is finite where rows are equal."""
    middle = source.detach().mean(dim=0)
    source, target = source - middle, target - middle
    norms = source.square().sum(dim=1)[:, None] + target.square().sum(dim=1)[None, :]
    return (norms - 2 * source @ target.mT).clamp_min(0)


def sinkhorn_divergence(source: Tensor, target: Tensor, blur: Tensor, scaling: float = 0.5) -> Tensor:
    """Debiased Sinkhorn divergence of uniform clouds source [M, D] and target [N, D]; 0-d, 0 for equal
    clouds.

    OT(s, t) - OT(s, s) / 2 - OT(t, t) / 2 of `transport_cost` (Feydy et al. 2019, equation 3): half the
    squared Wasserstein distance for a small blur, half the squared distance of the means for a large one.

    Example:
        >>> cloud = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
        >>> f"{sinkhorn_divergence(cloud, cloud + 3, torch.tensor(0.1)):.3f}"
        '9.000'
    """
    return (
        transport_cost(source, target, blur, scaling)
        - transport_cost(source, source, blur, scaling) / 2
        - transport_cost(target, target, blur, scaling) / 2
    )
