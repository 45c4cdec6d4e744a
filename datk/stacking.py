"""Several objectives of one structure as a single one, whose loss terms have a leading axis of seeds.

The networks are computed one after another, each as it would be alone: a convolution with a group for each
seed, and normalisation of channels that lie side by side, take several times as long. What comes after them
(loss terms, optimiser) and before (reading images) is many small operations, done for all seeds at once.
"""

import copy
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

from datk.interfaces import ParamGroup, Phase, SourceBatch, TargetBatch
from datk.objective import CPU, Objective, Owner, Passed, snapshot, views
from datk.rng import default_state, restore_state

_SIMPLE = (bool, int, float, str, tuple, type(None))


class CannotStackError(Exception):
    """Why some objectives cannot be computed as one."""


class _Draw(NamedTuple):
    """A call of a dropout layer."""

    probability: float
    shape: torch.Size
    stride: tuple[int, ...]
    """Numbers are drawn in the order of memory."""
    dtype: torch.dtype

    def mask(self, device: torch.device) -> Tensor:
        """What the layer multiplies its input by."""
        ones = torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device=device).fill_(1)
        return F.dropout(ones, self.probability)


class StackedObjective:
    """Objectives computed by one program: batches [K, B, ...] to terms [K].

    The parameters of their backbones stay their own; those of the loss terms become slices of tensors with a
    first axis of seeds. What members draw in dropout they draw as each would alone.

    Raises:
        CannotStackError: the members differ in more than the values of their tensors.
    """

    def __init__(self, members: Sequence[Objective]) -> None:
        self.members = tuple(members)
        first = members[0]
        self.phases = first.phases
        _check_alike([member.terms for member in members])
        self.stacked_parameters: dict[str, nn.Parameter] = {}
        for name, _ in first.terms.named_parameters():
            own = self._tensors(name)
            stacked = nn.Parameter(_stack(name, own), requires_grad=own[0].requires_grad)
            self.stacked_parameters[name] = stacked
        self.stacked_buffers = {
            name: _stack(name, self._tensors(name)) for name, _ in first.terms.named_buffers()
        }
        self.draws: dict[str, list[_Draw]] = {phase.name: [] for phase in self.phases}
        """What dropout draws in a phase, call by call: first in the backbone, then in the terms."""
        self.masks: list[Tensor] = []
        self.next_mask = 0

    def _tensors(self, name: str) -> list[Tensor]:
        """The parameter or buffer of that name in the terms of each member."""
        path, _, leaf = name.rpartition(".")
        return [getattr(member.terms.get_submodule(path), leaf) for member in self.members]

    def groups(self) -> list[tuple[Owner, ParamGroup]]:
        """As those of the members: the parameters of all backbones, the stacked ones of the terms."""
        names = {id(p): name for name, p in self.members[0].terms.named_parameters()}
        groups = []
        for of_all in zip(*(member.groups() for member in self.members), strict=True):
            owner, group = of_all[0]
            if owner == "terms":
                params = [self.stacked_parameters[names[id(p)]] for p in group.params]
            else:
                params = [p for _, own in of_all for p in own.params]
            groups.append((owner, ParamGroup(params, group.lr_mult, group.weight_decay)))
        return groups

    def parameters(self) -> Iterator[nn.Parameter]:
        """Those of all backbones and the stacked ones of the terms."""
        for member in self.members:
            yield from member.backbone.parameters()
        yield from self.stacked_parameters.values()

    def buffers(self) -> Iterator[Tensor]:
        """What a step changes beside parameters."""
        for member in self.members:
            yield from member.backbone.buffers()
        yield from self.stacked_buffers.values()

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """The parts of all backbones; what terms replace is taken in by `adopt`."""
        for member in self.members:
            yield from member.backbone.named_modules()

    def __call__(
        self, source: SourceBatch, target: TargetBatch, progress: Tensor, phase: Phase
    ) -> dict[str, Tensor]:
        """The terms [K] of batches whose tensors have a first axis of K."""
        count = len(self.draws[phase.name])
        masks = self.masks[self.next_mask : self.next_mask + count]
        self.next_mask += count
        return self._terms(self.stacked_buffers, source, target, progress, phase, masks)

    def _terms(
        self,
        buffers: dict[str, Tensor],
        source: SourceBatch,
        target: TargetBatch,
        progress: Tensor,
        phase: Phase,
        masks: list[Tensor],
    ) -> dict[str, Tensor]:
        layers: list[dict[str, Tensor]] = []
        logits, used = [], 0
        for k, member in enumerate(self.members):
            own = _Dropped([mask[k] for mask in masks])
            with _replaced(_dropouts(member.backbone), own):
                passed = member.passed(*_member(source, target, k))
            layers.append(passed.layers)
            logits.append(passed.logits)
            used = own.used
        all_layers = {name: torch.stack([each[name] for each in layers]) for name in layers[0]}
        terms = self.members[0].terms

        def one(
            state: Any, of_source: Any, of_target: Any, layers: Any, logits: Tensor, masks: Any
        ) -> dict[str, Tensor]:
            seen = views(SourceBatch(*of_source), TargetBatch(*of_target), Passed(layers, logits))
            with _replaced(_dropouts(terms), _Dropped(masks)):
                values: dict[str, Tensor] = functional_call(terms, state, (*seen, progress, phase))
            return values

        return dict(
            vmap(one, randomness="error")(
                self.stacked_parameters | buffers,
                (source.x, source.y, source.index),
                (target.x, target.index),
                all_layers,
                torch.stack(logits),
                masks[used:],
            )
        )

    # --- what is found out beforehand

    def probe(self, source: SourceBatch, target: TargetBatch, progress: Tensor) -> None:
        """Compute every phase once, on copies of what it would change: what is drawn, and whether it works.

        Raises:
            CannotStackError: a component draws beside dropout layers, or a term reads values, keeps something
                in Python from call to call, or uses an operation that has no version for several models.
        """
        one = copy.deepcopy(self.members[0])
        put_back = snapshot(self.buffers(), source.x.device)
        try:
            for phase in self.phases:
                self._probe_one(one, *_member(source, target, 0), progress, phase)
            for phase in self.phases:
                self._probe_all(source, target, progress, phase)
        finally:
            put_back()

    def _probe_one(
        self, one: Objective, source: SourceBatch, target: TargetBatch, progress: Tensor, phase: Phase
    ) -> None:
        """One member alone: its calls of dropout, and whether its terms keep anything."""
        draws = self.draws[phase.name]
        before = [(module, dict(vars(module)), dict(module._buffers)) for module in one.terms.modules()]

        def remember(layer: nn.Dropout, x: Tensor) -> Tensor:
            draws.append(_Draw(layer.p, x.shape, x.stride(), x.dtype))
            return x

        random = [default_state(device) for device in (CPU, source.x.device)]
        with _replaced(_dropouts(one), remember), torch.no_grad():
            one(source, target, progress, phase)
        after = [default_state(device) for device in (CPU, source.x.device)]
        for module, values, buffers in before:
            kept = [name for name, value in vars(module).items() if value is not values.get(name)]
            kept += [name for name, value in module._buffers.items() if value is not buffers.get(name)]
            if kept:
                raise CannotStackError(f"{type(module).__name__} sets '{kept[0]}' in forward")
        if not all(map(torch.equal, random, after)):
            raise CannotStackError("something else than a Dropout layer draws random numbers")

    def _probe_all(self, source: SourceBatch, target: TargetBatch, progress: Tensor, phase: Phase) -> None:
        copies = {name: buffer.clone() for name, buffer in self.stacked_buffers.items()}
        masks = [
            torch.ones(len(self.members), *draw.shape, dtype=draw.dtype, device=source.x.device)
            for draw in self.draws[phase.name]
        ]
        try:
            terms = self._terms(copies, source, target, progress, phase, masks)
            wanted = [p for _, group in self.groups() for p in group.params if p.requires_grad]
            torch.autograd.grad(torch.stack(tuple(terms.values())).sum(), wanted, allow_unused=True)
        except Exception as error:  # whatever a component does
            raise CannotStackError(" ".join(str(error).split())[:200]) from error

    # --- members as slices

    def take_over(self) -> None:
        """Make the parameters and buffers of the members' terms slices of the stacked ones."""
        for name, stacked in self.stacked_parameters.items():
            for parameter, part in zip(self._tensors(name), stacked.detach(), strict=True):
                parameter.data = part
        self.adopt()

    def adopt(self) -> None:
        """Take in the values of buffers that a member's own code has replaced since."""
        for name, stacked in self.stacked_buffers.items():
            path, _, leaf = name.rpartition(".")
            for member, own, part in zip(self.members, self._tensors(name), stacked, strict=True):
                if own.data_ptr() != part.data_ptr():
                    part.copy_(own)
                    member.terms.get_submodule(path)._buffers[leaf] = part

    def draw(self, states: list[Tensor]) -> None:
        """Draw what dropout needs in the next step, from each member's own random state, which moves on."""
        self.next_mask = 0
        wanted = [draw for phase in self.phases for draw in self.draws[phase.name] * phase.repeat]
        if not wanted:
            return
        device = next(self.parameters()).device
        drawn: list[list[Tensor]] = []
        for k, state in enumerate(states):
            restore_state(device, state)
            drawn.append([draw.mask(device) for draw in wanted])
            states[k] = default_state(device)
        masks = [torch.stack(of_all) for of_all in zip(*drawn, strict=True)]
        if self.masks:  # in place, where a recorded step looks for them
            for mask, new in zip(self.masks, masks, strict=True):
                mask.copy_(new)
        else:
            self.masks = masks


class _Dropped:
    """In place of dropout layers: multiplies by what has been drawn, call by call."""

    def __init__(self, masks: Sequence[Tensor]) -> None:
        self.masks = masks
        self.used = 0

    def __call__(self, layer: nn.Module, x: Tensor) -> Tensor:
        self.used += 1
        return x * self.masks[self.used - 1]


def _member(source: SourceBatch, target: TargetBatch, k: int) -> tuple[SourceBatch, TargetBatch]:
    """The batches of one of the seeds."""
    return (
        SourceBatch(source.x[k], source.y[k], source.index[k]),
        TargetBatch(target.x[k], target.index[k]),
    )


def _stack(name: str, tensors: Sequence[Tensor]) -> Tensor:
    if len({tensor.shape for tensor in tensors}) > 1:
        shapes = " and ".join(str(list(tensor.shape)) for tensor in tensors[:2])
        raise CannotStackError(f"'{name}' has other shapes with other seeds: {shapes}")
    return torch.stack([tensor.detach() for tensor in tensors])


def _check_alike(members: Sequence[nn.Module]) -> None:
    """Values in Python that differ between the members would be those of the first for all."""
    for modules in zip(*(member.modules() for member in members), strict=True):
        for name, value in vars(modules[0]).items():
            if isinstance(value, _SIMPLE) and any(vars(module).get(name) != value for module in modules[1:]):
                raise CannotStackError(f"'{name}' of {type(modules[0]).__name__} differs between seeds")


def _dropouts(module: nn.Module) -> list[nn.Module]:
    return [layer for layer in module.modules() if type(layer) is nn.Dropout and layer.p > 0]


@contextmanager
def _replaced(layers: Iterable[nn.Module], forward: Callable[..., Tensor]) -> Iterator[None]:
    """Call `forward(layer, x)` in place of the layers' own."""
    layers = list(layers)
    for layer in layers:
        layer.forward = functools.partial(forward, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
