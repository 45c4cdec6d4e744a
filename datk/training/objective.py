"""Backbone, loss terms and task as one module: from two batches to the terms of the loss."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from datk.base.rng import default_state, restore_state, seed_defaults
from datk.config.resolve import Component, Experiment, built_backbone
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
    Task,
)
from datk.nn import ramp, scale_gradient
from datk.training.contracts import (
    DOMAINS,
    Owner,
    checked_plan,
    one_loss,
    one_number,
    phases_of,
    sole_terms,
)
from datk.training.gather import everyones
from datk.training.network_contract import check_groups, layer_shapes

CPU = torch.device("cpu")
BACKBONE: tuple[Owner, ...] = ("trunk", "head")


class NetworkOutput(NamedTuple):
    """What the network gives for a batch, of both domains source first; float32."""

    layers: dict[str, Tensor]
    logits: Tensor


class Objective(nn.Module):
    """The model and everything that is optimised with it.

    Each component draws its first weights from a generator of its own, so that the backbone starts alike
    whatever it is combined with.

    Raises:
        ConfigError: two terms that both define supervision, predictor or plan.
        PluginError: two terms that both define phases, or phases that cannot be run.
    """

    def __init__(
        self, experiment: Experiment, task: Task, pair: PairInfo, source_size: int, target_size: int
    ) -> None:
        super().__init__()
        seed = experiment.config.seed

        def build(chosen: Component, argument: PairInfo | ModelInfo) -> Any:
            seed_defaults(CPU, seed, "init", chosen.plugin.kind, chosen.label)
            return chosen.cls(chosen.config, argument)

        with torch.random.fork_rng(devices=[]):
            chosen_backbone = built_backbone(experiment.backbone, pair)
            backbone = build(chosen_backbone, pair)
            assert isinstance(backbone, Backbone)
            self.backbone = backbone
            self._passing = (_Pass(backbone),)  # in a tuple, or it would be a part of the model
            shapes = layer_shapes(chosen_backbone.label, backbone, pair)
            model = ModelInfo(
                pair.classes, shapes, source_size, target_size, pair.shape, pair.outputs, pair.domains
            )
            self.loss_terms: dict[str, LossTerm] = {
                chosen.label: build(chosen, model) for chosen in experiment.terms
            }
            """The terms by label."""
        self.terms = nn.ModuleDict({label.replace(".", "_"): term for label, term in self.loss_terms.items()})
        self.task = task
        self.backbone_label, self.task_label = chosen_backbone.label, experiment.task.label
        self.target_domain = len(pair.domains) - 1
        self.precision: torch.dtype = getattr(torch, experiment.config.train.precision)
        self.phases = phases_of(self.loss_terms)
        self.sole = sole_terms(self.loss_terms)
        """The label of the term that overrides each of the methods that are for one term only."""
        self.sizes = source_size, target_size
        self.class_weights: Tensor | None
        """Factor on the loss of a source row by its class [K], of `train.class_weights`."""
        self.register_buffer("class_weights", None, persistent=False)
        self.class_ratios: Tensor | None
        """Weight of a source row where domains are compared, by its class [K], of `train.label_shift`."""
        self.says_classes = task.predicts_classes and pair.outputs == len(pair.classes)
        """Whether each output of the network is the score of a class of the source."""
        estimates = self.says_classes and experiment.config.train.label_shift == "estimate"
        self.register_buffer("class_ratios", torch.ones(len(pair.classes)) if estimates else None)
        self.critics: set[str] = set()
        """Terms with parameters of their own, which follow the whole term whatever its weight."""

    def set_up(self, seed: int) -> None:
        """Let the terms make what they make of the backbone's first weights, then see that every parameter is
        trained. Raises `PluginError` for one that is in no group of parameters, or in two."""
        self.eval()
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            for label, term in self.loss_terms.items():
                seed_defaults(CPU, seed, "setup", label)
                term.setup(self.backbone)
        self.train()
        check_groups(self.backbone_label, self.backbone)
        for label, term in self.loss_terms.items():
            check_groups(label, term)
        self.critics = {label for label, term in self.loss_terms.items() if term.param_groups()}

    def weigh_classes(self, weights: Tensor) -> None:
        """Weigh the loss of each source row by its class, with weights [K]."""
        self.class_weights = weights

    @property
    def passes(self) -> tuple[str, ...]:
        """The domains whose rows go through the network in some phase."""
        passed = {domain for phase in self.phases for domain in phase.passes}
        if not any(term.needs_target for term in self.loss_terms.values()):
            passed -= {"target"}
        return tuple(domain for domain in DOMAINS if domain in passed)

    def train(self, mode: bool = True) -> "Objective":
        """Switch the backbone. What terms own keeps the mode that its author gave it."""
        self.training = mode
        self.backbone.train(mode)
        return self

    def predictor(self) -> nn.Module:
        """What is evaluated and selected."""
        label = self.sole.get("predictor")
        return self.backbone if label is None else self.loss_terms[label].predictor(self.backbone)

    def plan(
        self, labels: Tensor, steps: int, batch: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor] | None:
        """The rows of an epoch's batches, if a term plans them. Raises `PluginError` for a plan that cannot
        be."""
        label = self.sole.get("plan")
        if label is None:
            return None
        planned = self.loss_terms[label].plan(labels, steps, batch, generator)
        return None if planned is None else checked_plan(label, planned, steps, self.sizes)

    def groups(self) -> list[tuple[Owner, ParamGroup]]:
        """All parameter groups with their owner."""
        head = {id(p) for p in self.backbone.head.parameters()}
        groups: list[tuple[Owner, ParamGroup]] = []
        for group in self.backbone.param_groups():
            for owner in BACKBONE:
                params = [p for p in group.params if (id(p) in head) == (owner == "head")]
                if params:
                    groups.append((owner, ParamGroup(params, group.lr_mult, group.weight_decay)))
        groups += [("terms", group) for term in self.loss_terms.values() for group in term.param_groups()]
        return groups

    def place(self, device: torch.device, memory_format: str) -> None:
        """Move to the device, with the weights of convolutions in the order that `train.memory_format` says;
        what they compute follows them."""
        self.to(device)
        last = memory_format == "channels-last" or (memory_format == "auto" and device.type == "cpu")
        for parameter in self.parameters():
            if last and parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def forward(
        self, source: SourceBatch, target: TargetBatch, progress: Tensor, epoch: Tensor, phase: Phase
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The terms of the loss, 0-d each, by label, whose sum is what the phase minimises; and what else the
        terms want to be logged."""
        # One pass over the joined batch, so that batch normalisation sees both domains at once.
        if "source" not in phase.passes:
            source = SourceBatch(source.x[:0], source.y[:0], source.index[:0], source.domain[:0])
        if "target" not in phase.passes:
            target = TargetBatch(target.x[:0], target.index[:0], target.domain[:0])
        passed = self._pass(torch.cat([source.x, target.x]), torch.cat([source.domain, target.domain]))
        whole = views(source, target, passed, self.class_ratios)
        step = Step(progress, phase.name, epoch, self.network)

        terms: dict[str, Tensor] = {}
        logged: dict[str, Tensor] = {}
        if phase.supervised:
            losses = self.task.loss(whole[0].logits, whole[0].labels)
            if self.class_weights is not None:
                losses = losses * self.class_weights[whole[0].labels]
            weighs = self.sole.get("supervision")
            if weighs is None:
                terms[self.task_label] = losses.mean()
            else:
                value = self.loss_terms[weighs].supervision(losses, *whole, step)
                terms[self.task_label] = one_loss(value, f"supervision of '{weighs}'")
        everyone = None
        for label, term in self.loss_terms.items():
            if isinstance(term, AlignmentLoss) or phase.regularized:
                pull = term.config.weight * ramp(term.config.ramp, progress)
                seen = whole
                if pulls_apart := label in self.critics and not _acts_fully(term):
                    # What the term owns follows the whole term; only its pull on the backbone is weighed.
                    seen = views(source, target, _scaled(passed, pull), self.class_ratios)
                    step = step._replace(network=lambda x, domain=None, by=pull: self.network(x, domain, by))
                if term.over_batch:
                    if pulls_apart:
                        seen = everyones(*seen)
                    else:
                        seen = everyone = everyone or everyones(*whole)
                value = term(*seen, step)
                step = step._replace(network=self.network)
                if isinstance(value, tuple):
                    value, extra = value
                    for name, number in extra.items():
                        key = f"{label}.{name}"
                        logged[key] = one_number(number, f"'{key}', which is to be logged,").detach()
                value = one_loss(value, f"loss term '{label}'")
                terms[label] = value if pulls_apart else pull * value
        return terms, logged

    def network(self, x: Tensor, domain: Tensor | None = None, pull: Tensor | None = None) -> NetworkOutput:
        """Another pass, for a term: as the step trains the network, with gradient, but without a trace in its
        running statistics.

        pull: factor of the gradient, if the term's weight is not to act on its value.
        """
        if domain is None:
            domain = x.new_full((len(x),), self.target_domain, dtype=torch.int64)
        (passing,) = self._passing
        copies = {name: buffer.clone() for name, buffer in passing.named_buffers()}
        with self._autocast(x.device):
            passed = functional_call(passing, copies, (x, domain))
        return _scaled(_float32(passed), pull)

    def _pass(self, x: Tensor, domain: Tensor) -> NetworkOutput:
        (passing,) = self._passing
        with self._autocast(x.device):
            return _float32(passing(x, domain))

    def _autocast(self, device: torch.device) -> torch.autocast:
        return torch.autocast(device.type, self.precision, enabled=self.precision != torch.float32)


class _Pass(nn.Module):
    """The pass of a batch as a module of its own, whose buffers can be exchanged."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor, domain: Tensor) -> NetworkOutput:
        layers = self.backbone.layers_of(x, domain)
        return NetworkOutput(layers, self.backbone.head(layers["features"]))


def _float32(passed: NetworkOutput) -> NetworkOutput:
    return NetworkOutput(
        {name: layer.float() for name, layer in passed.layers.items()}, passed.logits.float()
    )


def _scaled(passed: NetworkOutput, pull: Tensor | None) -> NetworkOutput:
    """The same values, through which a gradient passes times `pull`."""
    if pull is None:
        return passed
    layers = {name: scale_gradient(layer, pull) for name, layer in passed.layers.items()}
    return NetworkOutput(layers, scale_gradient(passed.logits, pull))


def _acts_fully(term: LossTerm) -> bool:
    return bool(term.config.weight == 1 and term.config.ramp == "constant")


def views(
    source: SourceBatch, target: TargetBatch, passed: NetworkOutput, class_ratios: Tensor | None = None
) -> tuple[SourceView, TargetView]:
    """What the terms see of a joint pass: the rows of either domain.

    class_ratios: weights [K] of source rows by their class.
    """
    n = len(source.x)
    shared: dict[Any, Tensor] = {("joined", name): layer for name, layer in passed.layers.items()}

    def rows(part: slice) -> dict[str, Any]:
        layers = {name: layer[part] for name, layer in passed.layers.items()}
        return {
            "features": layers["features"],
            "logits": passed.logits[part],
            "layers": layers,
            "shared": shared,
        }

    return (
        SourceView(
            x=source.x,
            index=source.index,
            domain=source.domain,
            labels=source.y,
            weights=None if class_ratios is None else class_ratios[source.y],
            **rows(slice(None, n)),
        ),
        TargetView(x=target.x, index=target.index, domain=target.domain, **rows(slice(n, None))),
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
