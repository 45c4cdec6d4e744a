"""Backbone and loss terms as one module: from two batches to the terms of the loss."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple, get_args

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
from datk.rng import default_state, restore_state, seed_defaults

CPU = torch.device("cpu")
CLASSIFICATION = "classification"
Owner = Literal["trunk", "head", "terms"]
"""Whose parameters a phase may update."""
BACKBONE: tuple[Owner, ...] = ("trunk", "head")


class Passed(NamedTuple):
    """What the network gives for the joined batch, source first; float32."""

    layers: dict[str, Tensor]
    logits: Tensor


class Terms(nn.ModuleDict):
    """The loss terms, each by its name as a module."""

    def __init__(self, modules: dict[str, LossTerm], labels: Sequence[str]) -> None:
        super().__init__(modules)
        self.by_label: dict[str, LossTerm] = dict(zip(labels, modules.values(), strict=True))

    def forward(
        self, source: SourceView, target: TargetView, progress: Tensor, phase: Phase
    ) -> dict[str, Tensor]:
        """The weighted terms of the loss, 0-d each, by label; their sum is what the phase minimises."""
        terms = {
            label: term
            for label, term in self.by_label.items()
            if phase.regularized or isinstance(term, AlignmentLoss)
        }
        own = whole = (source, target)
        if any(term.over_batch for term in terms.values()):
            whole = distributed.everyones(*own)
        step = Step(progress, phase.name)
        values = {}
        if phase.supervised:
            values[CLASSIFICATION] = F.cross_entropy(source.logits, source.labels)
        for label, term in terms.items():
            value = term(*(whole if term.over_batch else own), step)
            if value.ndim != 0:
                raise PluginError(f"loss term '{label}' gives shape {list(value.shape)}, not one number")
            values[label] = term.config.weight * ramp(term.config.ramp, progress) * value
        return values


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

        def build(chosen: Component, argument: PairInfo | ModelInfo) -> Any:
            seed_defaults(CPU, seed, "init", chosen.plugin.kind, chosen.label)
            return chosen.cls(chosen.config, argument)

        with torch.random.fork_rng(devices=[]):
            backbone = build(experiment.backbone, pair)
            assert isinstance(backbone, Backbone)
            self.backbone = backbone
            model = ModelInfo(pair.classes, _layer_shapes(backbone, pair.shape), source_size, target_size)
            chosen_terms = (*experiment.align, *experiment.reg)
            terms = {chosen.label.replace(".", "_"): build(chosen, model) for chosen in chosen_terms}
        self.terms = Terms(terms, [chosen.label for chosen in chosen_terms])
        self.phases = _phases(self.losses.values())
        self.precision: torch.dtype = getattr(torch, experiment.config.train.precision)
        check_groups(experiment.backbone.label, backbone)
        for name, term in self.losses.items():
            check_groups(name, term)

    @property
    def losses(self) -> dict[str, LossTerm]:
        """The terms by label."""
        return self.terms.by_label

    @property
    def needs_target(self) -> bool:
        """Whether any term looks at the target."""
        return any(term.needs_target for term in self.losses.values())

    def groups(self) -> list[tuple[Owner, ParamGroup]]:
        """All parameter groups with their owner."""
        head = {id(p) for p in self.backbone.head.parameters()}
        groups: list[tuple[Owner, ParamGroup]] = []
        for group in self.backbone.param_groups():
            for owner in BACKBONE:
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

    def passed(self, source: SourceBatch, target: TargetBatch) -> Passed:
        """One forward pass over the joined batch, so that batch normalisation sees both domains at once."""
        x = torch.cat([source.x, target.x])
        with torch.autocast(x.device.type, self.precision, enabled=self.precision != torch.float32):
            layers = self.backbone.embed(x)
            logits = self.backbone.head(layers["features"])
        return Passed({name: layer.float() for name, layer in layers.items()}, logits.float())

    def forward(
        self, source: SourceBatch, target: TargetBatch, progress: Tensor, phase: Phase
    ) -> dict[str, Tensor]:
        """The weighted terms of the loss, 0-d each, by label; their sum is what the phase minimises."""
        terms: dict[str, Tensor] = self.terms(
            *views(source, target, self.passed(source, target)), progress, phase
        )
        return terms


def views(source: SourceBatch, target: TargetBatch, passed: Passed) -> tuple[SourceView, TargetView]:
    """What the terms see of a joint pass: the rows of either domain."""
    n = len(source.x)
    shared: dict[Any, Tensor] = {("joined", name): layer for name, layer in passed.layers.items()}
    first, rest = _rows(passed, slice(None, n)), _rows(passed, slice(n, None))
    return (
        SourceView(x=source.x, index=source.index, labels=source.y, shared=shared, **first),
        TargetView(x=target.x, index=target.index, shared=shared, **rest),
    )


def snapshot(buffers: Iterable[Tensor], device: torch.device) -> Callable[[], None]:
    """Keep what a step changes beside parameters: buffers and random states. The result puts it back."""
    kept = [(buffer, buffer.clone()) for buffer in buffers]
    states = [(where, default_state(where)) for where in (CPU, device)]

    def put_back() -> None:
        for where, state in states:
            restore_state(where, state)
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)

    return put_back


def _rows(passed: Passed, rows: slice) -> dict[str, Any]:
    layers = {name: layer[rows] for name, layer in passed.layers.items()}
    return {"features": layers["features"], "logits": passed.logits[rows], "layers": layers}


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
        if phase.repeat < 1 or not phase.updates or not set(phase.updates) <= set(get_args(Owner)):
            raise PluginError(
                f"phase '{phase.name}' must update some of {', '.join(get_args(Owner))} and run once at least"
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
