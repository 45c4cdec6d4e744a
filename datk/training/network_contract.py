"""What a backbone must give, tried out once on zeros before anything is trained."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from datk.base.errors import PluginError
from datk.interfaces import Backbone, LossTerm, PairInfo, ParamGroup

ROWS = (3, 2)
"""Sizes of the batches that are tried, the last of which tells the shapes."""


def layer_shapes(label: str, backbone: Backbone, pair: PairInfo) -> dict[str, tuple[int, ...]]:
    """Shapes of one sample in each layer, from passes in evaluation mode, which change no state.

    Raises:
        PluginError: naming the backbone, the method, what it gives and what it has to give.
    """
    where = f"backbone '{label}'"
    if not isinstance(getattr(backbone, "head", None), nn.Module):
        raise PluginError(f"{where}: __init__ must set self.head, a module from features [B, D] to logits")
    backbone.eval()
    layers: dict[str, Tensor] = {}
    with torch.no_grad():
        for rows in ROWS:
            x, domain = torch.zeros(rows, *pair.shape), torch.zeros(rows, dtype=torch.int64)
            layers = _checked_layers(where, backbone.layers_of(x, domain), rows)
            _check_logits(f"{where}: the head", backbone.head(layers["features"]), rows, pair.outputs)
            if type(backbone).forward is not Backbone.forward:
                _check_logits(f"{where}: forward", backbone(x, domain), rows, pair.outputs)
    backbone.train()
    return {name: tuple(layer.shape[1:]) for name, layer in layers.items()}


def _checked_layers(where: str, layers: Any, rows: int) -> dict[str, Tensor]:
    if not isinstance(layers, dict):
        raise PluginError(
            f"{where}: embed must return a dictionary of layers, 'features' [B, D] among them, "
            f"not {type(layers).__name__}"
        )
    for name, layer in layers.items():
        if not isinstance(name, str):
            raise PluginError(f"{where}: embed must return layers by names that are strings, not {name!r}")
        _check_tensor(f"{where}: embed", f"layer '{name}'", layer, rows)
    if "features" not in layers or layers["features"].ndim != 2:
        given = f"of shape {list(layers['features'].shape)}" if "features" in layers else "none of that name"
        raise PluginError(f"{where}: embed must return 'features' of shape [B, D], not {given}")
    return layers


def _check_logits(where: str, logits: Any, rows: int, outputs: int) -> None:
    _check_tensor(where, "logits", logits, rows)
    if tuple(logits.shape[1:]) != (outputs,):
        raise PluginError(
            f"{where} gives shape {list(logits.shape[1:])} a row, not pair.outputs = {outputs} numbers"
        )


def _check_tensor(where: str, what: str, value: Any, rows: int) -> None:
    if not isinstance(value, Tensor):
        raise PluginError(f"{where} gives {what} as {type(value).__name__}, not as a tensor")
    if value.ndim == 0 or len(value) != rows:
        raise PluginError(
            f"{where} gives {what} of shape {list(value.shape)} for {rows} rows; the first axis counts rows"
        )
    if not value.is_floating_point():
        raise PluginError(f"{where} gives {what} of {value.dtype}; give floating-point numbers")


def check_groups(name: str, module: nn.Module) -> None:
    """Raise `PluginError` for a parameter that is not in exactly one group, because it would silently never
    learn, and for groups that no optimiser takes."""
    assert isinstance(module, Backbone | LossTerm)
    groups: Any = module.param_groups()
    where = f"{name}: param_groups() must give"
    if not isinstance(groups, Iterable) or not all(isinstance(group, ParamGroup) for group in groups):
        raise PluginError(f"{where} a list of ParamGroup, not {_listed(groups)}")
    for group in groups:
        if not all(isinstance(parameter, nn.Parameter) for parameter in group.params):
            raise PluginError(f"{where} parameters, not {_listed(group.params)}")
        for setting in ("lr_mult", "weight_decay"):
            value = getattr(group, setting)
            if value is None and setting == "weight_decay":
                continue
            if not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise PluginError(f"{where} a {setting} that is 0 or more, not {value!r}")
    grouped = [id(p) for group in groups for p in group.params]
    for parameter_name, parameter in module.named_parameters():
        times = grouped.count(id(parameter))
        if parameter.requires_grad and times != 1:
            raise PluginError(
                f"{name}: param_groups() lists parameter '{parameter_name}' {times} times, not once"
            )


def _listed(values: Any) -> str:
    if not isinstance(values, list | tuple):
        return type(values).__name__
    return f"{type(values).__name__} of " + ", ".join(sorted({type(value).__name__ for value in values}))
