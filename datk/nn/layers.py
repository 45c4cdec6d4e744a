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
    """The module with first weights of its own, drawn from torch's default generator, in place.

    Layers draw as they were built to (`reset_parameters`). A parameter that this leaves as it was, because
    its module has no such method or computes its weights from others (weight normalisation), is drawn from
    a normal distribution with its mean and deviation; one whose values are all equal stays.
    """
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    with torch.no_grad():
        for part in module.modules():
            if callable(reset := getattr(part, "reset_parameters", None)):
                reset()
        for name, parameter in module.named_parameters():
            if torch.equal(parameter, before[name]):
                deviation, mean = torch.std_mean(parameter, correction=0)
                parameter.normal_().mul_(deviation).add_(mean)
    return module
