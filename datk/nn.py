"""Parts for authors of components: gradient reversal, ramps, perceptrons, distances, what terms share."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from datk.interfaces import View

__all__ = ["joined", "joint_distances", "mlp", "ramp", "reverse_gradient", "squared_distances"]


class _ReverseGradient(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, coefficient: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

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


class _SquaredDistances(torch.autograd.Function):
    """One product of matrices forwards and one backwards, where autograd would need two."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        gram = x @ x.mT
        norms = gram.diagonal(dim1=-2, dim2=-1)
        off_diagonal = 1 - torch.eye(x.shape[-2], dtype=x.dtype, device=x.device)
        return (norms[:, None] + norms[None, :] - 2 * gram).clamp_min(0) * off_diagonal

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        # d_ij = |x_i - x_j|^2 gives x_i the gradient 2 (g_ij + g_ji) (x_i - x_j). The diagonal is left out:
        # it would cancel only up to rounding, of values that dwarf all others where kernels are narrow.
        (x,) = ctx.saved_tensors
        pull = grads[0] + grads[0].mT
        pull = pull * (1 - torch.eye(len(pull), dtype=x.dtype, device=x.device))
        gradient: Tensor = 2 * (torch.diag(pull.sum(dim=1)) - pull) @ x
        return gradient


def squared_distances(x: Tensor) -> Tensor:
    """Squared Euclidean distances [N, N] between the rows of x [N, D], from one Gram matrix.

    |a - b|^2 = |a|^2 + |b|^2 - 2 a.b needs N x N memory where a broadcast needs N x D x N. Centring the
    rows first keeps the cancellation small; the diagonal is exactly 0 and nothing is negative.
    """
    # Distances do not depend on where the middle is, so that its gradient is zero.
    result: Tensor = _SquaredDistances.apply(x - x.detach().mean(dim=0))
    return result


def joined(source: View, target: View, layer: str = "features") -> Tensor:
    """A layer's rows of both domains, source first: [M + N, ...].

    Within a step this is what the network gave for the joined batch, not a copy.
    """
    rows = _shared(source, target).get(("joined", layer))
    return torch.cat([source.layers[layer], target.layers[layer]]) if rows is None else rows


def joint_distances(source: View, target: View, layer: str = "features") -> Tensor:
    """Squared Euclidean distances [M + N, M + N] between a layer's rows [B, D] of both domains, source first.

    Computed once in a step, however many terms ask.
    """
    shared, key = _shared(source, target), ("squared distances", layer, torch.is_grad_enabled())
    if key not in shared:
        shared[key] = squared_distances(joined(source, target, layer))
    return shared[key]


def _shared(source: View, target: View) -> dict[Any, Tensor]:
    """The table of two views of one step; an empty one for views made apart."""
    return source.shared if source.shared is target.shared else {}
