"""Layers and heads."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from datk.interfaces import Backbone


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


class _WithHead(Backbone):
    """A backbone's trunk, and another head."""

    def __init__(self, backbone: Backbone, head: nn.Module) -> None:
        nn.Module.__init__(self)
        self.backbone, self.head = backbone, head
        self.by_domain = backbone.by_domain

    def embed(self, x: Tensor, domain: Tensor | None = None) -> dict[str, Tensor]:
        return self.backbone.layers_of(x, domain)


def with_head(backbone: Backbone, head: nn.Module) -> Backbone:
    """The trunk of a backbone with another head, a module from features [B, D] to logits [B, K]; what it is
    made of is shared, not copied. For a `predictor` with heads of its own."""
    return _WithHead(backbone, head)


def reinitialized(module: nn.Module) -> nn.Module:
    """The module with first weights of its own, drawn from torch's default generator.

    Layers draw as they were built to (`reset_parameters`); a parameter of none of them is drawn from a normal
    distribution with its mean and deviation.
    """
    redrawn: set[int] = set()
    for part in module.modules():
        reset = getattr(part, "reset_parameters", None)
        if callable(reset):
            reset()
            redrawn |= {id(parameter) for parameter in part.parameters(recurse=False)}
    with torch.no_grad():
        for parameter in module.parameters():
            if id(parameter) not in redrawn and parameter.numel() > 1:
                deviation, mean = torch.std_mean(parameter)
                parameter.normal_().mul_(deviation).add_(mean)
    return module
