"""Backbone and loss terms as one module: from two batches to the terms of the loss."""

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datk import distributed
from datk.config import Component, Experiment
from datk.errors import PluginError
from datk.interfaces import (
    AlignmentLoss,
    Backbone,
    LossTerm,
    ModelInfo,
    PairInfo,
    ParamGroup,
    Phase,
    SourceBatch,
    SourceView,
    Step,
    TargetBatch,
    TargetView,
)
from datk.nn import ramp
from datk.rng import seed_defaults

CLASSIFICATION = "classification"
OWNERS = ("trunk", "head", "terms")
"""Whose parameters a phase may update."""


class Objective(nn.Module):
    """The model and everything that is optimised with it.

    Each component draws its first weights from a generator of its own, so that the backbone starts alike
    whatever it is combined with.

    Raises:
        PluginError: a component whose parameters are in no group, or in two; two alignments with phases, or
            phases that cannot be run.
    """

    def __init__(
        self, experiment: Experiment, pair: PairInfo, source_size: int, target_size: int, seed: int
    ) -> None:
        super().__init__()

        def build(chosen: Component, argument: PairInfo | ModelInfo) -> nn.Module:
            seed_defaults(torch.device("cpu"), seed, "init", chosen.plugin.kind, chosen.label)
            module: nn.Module = chosen.cls(chosen.config, argument)
            return module

        with torch.random.fork_rng(devices=[]):
            backbone = build(experiment.backbone, pair)
            assert isinstance(backbone, Backbone)
            self.backbone = backbone
            model = ModelInfo(pair.classes, _layer_shapes(backbone, pair.shape), source_size, target_size)
            chosen_terms = (*experiment.align, *experiment.reg)
            self.terms = nn.ModuleDict({_key(chosen): build(chosen, model) for chosen in chosen_terms})
        self.losses: dict[str, LossTerm] = {
            c.label: cast(LossTerm, self.terms[_key(c)]) for c in chosen_terms
        }
        """The terms by name."""
        self.phases = _phases(self.losses.values())
        self.precision: torch.dtype = getattr(torch, experiment.config.train.precision)
        check_groups(experiment.backbone.label, backbone)
        for name, term in self.losses.items():
            check_groups(name, term)

    @property
    def needs_target(self) -> bool:
        """Whether any term looks at the target."""
        return any(term.needs_target for term in self.losses.values())

    @property
    def over_batch(self) -> bool:
        """Whether any term needs the whole batch at once."""
        return any(term.over_batch for term in self.losses.values())

    def groups(self) -> list[tuple[str, ParamGroup]]:
        """All parameter groups with their owner: trunk, head or terms."""
        head = {id(p) for p in self.backbone.head.parameters()}
        groups = []
        for group in self.backbone.param_groups():
            for owner in ("trunk", "head"):
                params = [p for p in group.params if (id(p) in head) == (owner == "head")]
                if params:
                    groups.append((owner, ParamGroup(params, group.lr_mult, group.weight_decay)))
        groups += [("terms", group) for term in self.losses.values() for group in term.param_groups()]
        return groups

    def place(self, device: torch.device, memory_format: str) -> None:
        """Move to the device, with the weights of convolutions in the order that `train.memory_format` says;
        what they compute follows them."""
        self.to(device)
        last = memory_format == "channels-last" or (memory_format == "auto" and device.type == "cpu")
        for parameter in self.parameters():
            if last and parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def views(self, source: SourceBatch, target: TargetBatch) -> tuple[SourceView, TargetView]:
        """One forward pass over the joined batch, so that batch normalisation sees both domains at once."""
        n = len(source.x)
        x = torch.cat([source.x, target.x])
        with torch.autocast(x.device.type, self.precision, enabled=self.precision != torch.float32):
            layers = self.backbone.embed(x)
            logits = self.backbone.head(layers["features"]).float()
        layers = {name: layer.float() for name, layer in layers.items()}
        shared: dict[Any, Tensor] = {("joined", name): layer for name, layer in layers.items()}
        return (
            SourceView(
                x=source.x,
                index=source.index,
                features=layers["features"][:n],
                logits=logits[:n],
                layers={name: layer[:n] for name, layer in layers.items()},
                shared=shared,
                labels=source.y,
            ),
            TargetView(
                x=target.x,
                index=target.index,
                features=layers["features"][n:],
                logits=logits[n:],
                layers={name: layer[n:] for name, layer in layers.items()},
                shared=shared,
            ),
        )

    def forward(
        self, source: SourceBatch, target: TargetBatch, progress: Tensor, phase: Phase
    ) -> dict[str, Tensor]:
        """The weighted terms of the loss, 0-d each, by name; their sum is what the phase minimises."""
        own = self.views(source, target)
        whole = distributed.everyones(*own) if self.over_batch else own
        step = Step(progress, phase.name)
        values = {}
        if phase.supervised:
            values[CLASSIFICATION] = F.cross_entropy(own[0].logits, own[0].labels)
        for name, term in self.losses.items():
            if phase.regularized or isinstance(term, AlignmentLoss):
                value = term(*(whole if term.over_batch else own), step)
                if value.ndim != 0:
                    raise PluginError(f"loss term '{name}' gives shape {list(value.shape)}, not one number")
                values[name] = term.config.weight * ramp(term.config.ramp, progress) * value
        return values


def _key(chosen: Component) -> str:
    return chosen.label.replace(".", "_")


def _layer_shapes(backbone: Backbone, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Shapes of one sample in each layer, from a pass that changes no state."""
    backbone.eval()
    with torch.no_grad():
        layers = backbone.embed(torch.zeros(2, *shape))
    backbone.train()
    if "features" not in layers or layers["features"].ndim != 2:
        raise PluginError(f"backbone {type(backbone).__name__}: embed must return 'features' of shape [B, D]")
    return {name: tuple(layer.shape[1:]) for name, layer in layers.items()}


def _phases(terms: Iterable[LossTerm]) -> tuple[Phase, ...]:
    default = AlignmentLoss.phases
    special = [term for term in terms if isinstance(term, AlignmentLoss) and term.phases != default]
    if len(special) > 1:
        names = " and ".join(type(term).__name__ for term in special)
        raise PluginError(f"{names} both define phases of training; use one of them at a time")
    phases = special[0].phases if special else default
    for phase in phases:
        if phase.repeat < 1 or not phase.updates or not set(phase.updates) <= set(OWNERS):
            raise PluginError(
                f"phase '{phase.name}' must update some of {', '.join(OWNERS)} and run once at least"
            )
    if len({phase.name for phase in phases}) < len(phases) or not phases:
        raise PluginError(f"{type(special[0]).__name__}: phases must be one or more with different names")
    return phases


def check_groups(name: str, module: nn.Module) -> None:
    """Raise `PluginError` for a parameter that is not in exactly one group: it would silently never learn."""
    assert isinstance(module, Backbone | LossTerm)
    grouped = [id(p) for group in module.param_groups() for p in group.params]
    for parameter_name, parameter in module.named_parameters():
        times = grouped.count(id(parameter))
        if parameter.requires_grad and times != 1:
            raise PluginError(
                f"{name}: param_groups() lists parameter '{parameter_name}' {times} times, not once"
            )
