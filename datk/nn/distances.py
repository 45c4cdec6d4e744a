"""Distances between rows, and what the terms of a step share of them."""

from typing import Any

import torch
from torch import Tensor

from datk.interfaces import View


class _Gram(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x @ x.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        gradient: Tensor = (grads[0] + grads[0].mT) @ x
        return gradient


def gram(x: Tensor) -> Tensor:
    """Products x_i . x_j [N, N] of the rows of x [N, D].

    As `x @ x.T`, but with one product of matrices on the way back instead of two.
    """
    result: Tensor = _Gram.apply(x)
    return result


def centred(x: Tensor) -> Tensor:
    """Rows of x [N, D] minus their mean, which is held constant.

    The mean of rows far from 0 is rounded; that of what is left is not, so that it is taken off, too.
    """
    x = x - x.detach().mean(dim=0)
    return x - x.detach().mean(dim=0)


def squared_distances(x: Tensor) -> Tensor:
    """Squared Euclidean distances [N, N] between the rows of x [N, D], from one Gram matrix.

    |a - b|^2 = |a|^2 + |b|^2 - 2 a.b needs N x N memory where a broadcast needs N x D x N. Centring the
    rows first keeps the cancellation small; the diagonal is exactly 0 and nothing is negative.

    What is left of it: a distance is right to a few times 1e-7 (float32) of its rows' squared distances from
    the mean. So of two rows that lie a thousand times closer to each other than to the mean it is lost. For
    two clouds far apart there is `squared_distances_of_two`.
    """
    # Where the middle is changes no distance, so that it has no gradient.
    products = gram(x - x.detach().mean(dim=0))
    norms = products.diagonal()
    off_diagonal = 1 - torch.eye(len(x), dtype=x.dtype, device=x.device)
    return (norms[:, None] + norms[None, :] - 2 * products).clamp_min(0) * off_diagonal


def squared_distances_of_two(x: Tensor, m: int) -> Tensor:
    """Squared Euclidean distances [N, N] between the rows of x [N, D], of which the first m are one cloud and
    the others another one.

    As `squared_distances`, but each cloud is centred by itself: distances within a cloud stay right however
    far away the other is. With the gap g of the means and centred rows a and b a distance between the clouds
    is |a - b|^2 + |g|^2 + 2 g.a - 2 g.b.
    """
    middles = torch.stack([x[:m].detach().mean(dim=0), x[m:].detach().mean(dim=0)])
    gap = middles[0] - middles[1]
    first = torch.arange(len(x), device=x.device) < m
    rows = x - torch.where(first[:, None], middles[0], middles[1])
    side = first.to(x.dtype)
    across = side[:, None] - side[None, :]
    along = rows @ gap
    shift = gap.square().sum() * across.square() + 2 * across * (along[:, None] - along[None, :])
    return (squared_distances(rows) + shift).clamp_min(0)


def joined(source: View, target: View, layer: str = "features") -> Tensor:
    """A layer's rows of both domains, source first: [M + N, ...].

    Within a step this is what the network gave for the joined batch, not a copy.
    """
    rows = _shared(source, target).get(("joined", layer))
    return torch.cat([source.layers[layer], target.layers[layer]]) if rows is None else rows


def joint_distances(source: View, target: View, layer: str = "features") -> Tensor:
    """Squared Euclidean distances [M + N, M + N] between a layer's rows [B, D] of both domains, source first;
    see `squared_distances_of_two`.

    Computed once in a step, however many terms ask.
    """
    shared, key = _shared(source, target), ("squared distances", layer, torch.is_grad_enabled())
    if key not in shared:
        rows = joined(source, target, layer)
        shared[key] = squared_distances_of_two(rows, len(source.layers[layer]))
    return shared[key]


def _shared(source: View, target: View) -> dict[Any, Tensor]:
    """The table of two views of one step; an empty one for views made apart."""
    return source.shared if source.shared is target.shared else {}
