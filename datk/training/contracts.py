"""What components must keep to while they are trained, and what is said if they do not."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from datk.base.errors import ConfigError, PluginError
from datk.interfaces import AlignmentLoss, LossTerm, Phase

Owner = Literal["trunk", "head", "terms"]
"""Whose parameters a phase may update."""
DOMAINS = ("source", "target")
SOLE = ("supervision", "predictor", "plan")
"""Methods that one term of a run may override, not two."""


def phases_of(terms: Mapping[str, LossTerm]) -> tuple[Phase, ...]:
    """The phases of a step. Raises `PluginError` if two terms define some, or if they cannot be run."""
    default = AlignmentLoss.phases
    special = [
        label for label, term in terms.items() if isinstance(term, AlignmentLoss) and term.phases != default
    ]
    if len(special) > 1:
        raise PluginError(
            f"'{special[0]}' and '{special[1]}' both define phases of training; use one of them at a time"
        )
    if not special:
        return default
    term = terms[special[0]]
    assert isinstance(term, AlignmentLoss)
    for phase in term.phases:
        where = f"'{special[0]}': phase '{phase.name}'"
        if phase.repeat < 1 or not phase.updates or not set(phase.updates) <= set(get_args(Owner)):
            raise PluginError(
                f"{where} must update some of {', '.join(get_args(Owner))} and run once at least"
            )
        if not phase.passes or not set(phase.passes) <= set(DOMAINS):
            raise PluginError(f"{where} must pass source or target rows, or both")
        if phase.supervised and "source" not in phase.passes:
            raise PluginError(f"{where} is supervised but passes no source rows; say supervised=False")
        if "source" not in phase.passes and not term.needs_target:
            raise PluginError(f"{where} passes target rows alone, but needs_target is False")
    if len({phase.name for phase in term.phases}) < len(term.phases) or not term.phases:
        raise PluginError(f"'{special[0]}': phases must be one or more with different names")
    return term.phases


def sole_terms(terms: Mapping[str, LossTerm]) -> dict[str, str]:
    """The label of the term that overrides each of the methods that are for one term only. Raises
    `ConfigError` if two terms do."""
    found: dict[str, str] = {}
    for method in SOLE:
        labels = [
            label
            for label, term in terms.items()
            if getattr(type(term), method) is not getattr(LossTerm, method)
        ]
        if len(labels) > 1:
            raise ConfigError(
                f"'{labels[0]}' and '{labels[1]}' both define the {method}; use one of them at a time"
            )
        if labels:
            found[method] = labels[0]
    return found


def one_number(value: Any, giver: str) -> Tensor:
    """What a term gives to be logged. Raises `PluginError` if it is no 0-d tensor."""
    if isinstance(value, Tensor) and value.ndim == 0:
        return value
    given = f"shape {list(value.shape)}" if isinstance(value, Tensor) else f"{value!r}"
    raise PluginError(f"{giver} gives {given}, not one number")


def one_loss(value: Any, giver: str) -> Tensor:
    """What a term gives to be minimised. Raises `PluginError` if it is no 0-d tensor of floating point."""
    number = one_number(value, giver)
    if not number.is_floating_point():
        raise PluginError(f"{giver} gives a number of {number.dtype}; give a floating-point number")
    return number


def checked_plan(
    label: str, planned: tuple[Tensor, Tensor], steps: int, sizes: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """A term's plan of an epoch, on the CPU. Raises `PluginError` if it does not name rows for every step."""
    where = f"'{label}': plan must give"
    if not (isinstance(planned, tuple) and len(planned) == 2):
        raise PluginError(f"{where} two tensors, of source and target, not {type(planned).__name__}")
    for name, index, rows in zip(DOMAINS, planned, sizes, strict=True):
        if not isinstance(index, Tensor) or index.dtype not in (torch.int32, torch.int64):
            kind = index.dtype if isinstance(index, Tensor) else type(index).__name__
            raise PluginError(f"{where} whole numbers (int64) of the {name}, not {kind}")
        if index.ndim != 2 or len(index) != steps or not index.numel():
            raise PluginError(f"{where} [{steps}, B] rows of the {name}, not {list(index.shape)}")
        if int(index.min()) < 0 or int(index.max()) >= rows:
            raise PluginError(
                f"{where} rows 0..{rows - 1} of the {name}, not {int(index.min())}..{int(index.max())}"
            )
    source, target = (index.long().cpu() for index in planned)
    return source, target
