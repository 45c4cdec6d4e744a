"""Parts for authors of components: gradient reversal, ramps, perceptrons, squared distances."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["mlp", "ramp", "reverse_gradient", "squared_distances"]


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, coefficient: Tensor) -> Tensor:
        ctx.save_for_backward(coefficient)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (coefficient,) = ctx.saved_tensors
        return -coefficient * grads[0], None


def reverse_gradient(x: Tensor, coefficient: Tensor | float = 1.0) -> Tensor:
    """The identity forwards; backwards the gradient times minus `coefficient` (Ganin et al. 2016).

    A 0-d tensor as coefficient lets a schedule change it without leaving the device.
    """
    if not isinstance(coefficient, Tensor):
        coefficient = x.new_full((), coefficient)
    result: Tensor = _ReverseGradient.apply(x, coefficient)
    return result


def ramp(kind: str, progress: Tensor) -> Tensor:
    """A weight's growth from training progress p in [0, 1]: `constant` 1, `linear` p, or
    `dann` 2 / (1 + exp(-10 p)) - 1 (Ganin et al. 2016, section 5.2.2). Raises KeyError for another kind."""
    return {
        "constant": torch.ones_like,
        "linear": torch.clone,
        "dann": lambda p: 2 * torch.sigmoid(10 * p) - 1,
    }[kind](progress)


def mlp(sizes: Sequence[int], dropout: float = 0.0) -> nn.Sequential:
    """Linear layers of the given sizes [in, hidden ..., out], a ReLU and dropout after each hidden one."""
    layers: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        layers.append(nn.Linear(n_in, n_out))
        if i < len(sizes) - 2:
            layers.append(nn.ReLU())
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


def squared_distances(x: Tensor) -> Tensor:
    """Squared Euclidean distances [N, N] between the rows of x [N, D], from one Gram matrix.

    |a - b|^2 = |a|^2 + |b|^2 - 2 a.b needs N x N memory where a broadcast needs N x D x N. Centring the
    rows first keeps the cancellation small; the diagonal is exactly 0 and nothing is negative.
    """
    x = x - x.mean(dim=0)
    gram = x @ x.T
    norms = gram.diagonal()
    off_diagonal = 1 - torch.eye(len(x), dtype=x.dtype, device=x.device)
    return (norms[:, None] + norms[None, :] - 2 * gram).clamp_min(0) * off_diagonal
