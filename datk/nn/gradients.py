"""What happens to a gradient on its way back, and how a weight grows."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

WARM_UP = 0.2
"""Share of the training that a term with the ramp `warm-up` lets go by: the network has learned the source
then, and what it says of the target is not yet changed by alignment."""


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, factor: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return factor * grads[0], None


def scale_gradient(x: Tensor, factor: Tensor | float) -> Tensor:
    """The identity forwards; backwards the gradient times `factor`.

    A 0-d tensor as factor lets a schedule change it without leaving the device.
    """
    if not isinstance(factor, Tensor):
        factor = x.new_full((), factor)
    result: Tensor = _ScaleGradient.apply(x, factor)
    return result


def reverse_gradient(x: Tensor, coefficient: Tensor | float = 1.0) -> Tensor:
    """The identity forwards; backwards the gradient times minus `coefficient` (Ganin et al. 2016)."""
    return scale_gradient(x, -coefficient)


def ramp(kind: str, progress: Tensor) -> Tensor:
    """A weight's growth from training progress p in [0, 1]: `constant` 1, `linear` p,
    `dann` 2 / (1 + exp(-10 p)) - 1 (Ganin et al. 2016, section 5.2.2), or `warm-up` 0 up to p = `WARM_UP` and
    `dann` over the rest. Raises KeyError for another kind."""

    def ganin(p: Tensor) -> Tensor:
        return 2 * torch.sigmoid(10 * p) - 1

    kinds: dict[str, Callable[[Tensor], Tensor]] = {
        "constant": torch.ones_like,
        "linear": torch.clone,
        "dann": ganin,
        "warm-up": lambda p: ganin(((p - WARM_UP) / (1 - WARM_UP)).clamp_min(0)),
    }
    return kinds[kind](progress)
