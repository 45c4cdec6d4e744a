"""The optimiser of a configuration."""

import inspect
from contextlib import suppress
from typing import Any

import torch

from datk.config.models import TrainConfig
from datk.training.objective import Objective


def optimizer_of(objective: Objective, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser over all groups of parameters, each with its factor on the learning rate."""
    groups = [
        {
            "params": group.params,
            "lr_mult": group.lr_mult,
            "weight_decay": config.weight_decay if group.weight_decay is None else group.weight_decay,
        }
        for _, group in objective.groups()
    ]
    options: dict[str, Any] = {"lr": config.lr, "fused": next(objective.parameters()).device.type != "mps"}
    if config.optimizer == "sgd":
        kind: type[torch.optim.Optimizer] = torch.optim.SGD
        options |= {"momentum": config.momentum, "nesterov": config.momentum > 0}
    else:
        kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
        options |= {"betas": config.betas, "eps": config.eps, "amsgrad": config.amsgrad}
    if config.compile == "none":
        kind = _without_compiler(kind)
    return kind(groups, **options)


def _without_compiler(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """A class that computes the same and does not import torch's compiler.

    torch imports it when an optimiser is made and when it steps, only to exempt that from compilation; it
    takes longer than training a small network.
    """
    for method in vars(torch.optim.Optimizer).values():
        plain = getattr(method, "__wrapped__", None)
        if plain is not None:  # of a torch that does it in another way nothing but time is lost
            with suppress(AttributeError):
                plain.__dict__.setdefault("__dynamo_disable", plain)
    computed = inspect.unwrap(kind.step)

    class Plain(kind):  # type: ignore[misc, valid-type]
        @torch.no_grad()
        def step(self, closure: None = None) -> Any:
            return computed(self, closure)

    Plain.__name__ = Plain.__qualname__ = kind.__name__
    return Plain
