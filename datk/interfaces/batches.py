"""Batches, the views that losses have of them, and where in a step they are."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class SourceBatch:
    """Rows of the source: x [B, C, H, W] or [B, F], labels y [B] (numbers: [B] or [B, T]), index [B] into the
    training rows, domain [B], the number of the source that each row is from."""

    x: Tensor
    y: Tensor
    index: Tensor
    domain: Tensor


@dataclass(frozen=True, slots=True)
class TargetBatch:
    """Rows of the target: x [B, C, H, W] or [B, F], index [B] into the training rows, domain [B], the number
    after those of the sources. There are no labels."""

    x: Tensor
    index: Tensor
    domain: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a loss sees of one domain in one step; floating tensors are float32."""

    x: Tensor
    """Standardised input, [B, C, H, W] or [B, F]."""
    index: Tensor
    """Number of each row among the training rows of its domain, [B] int64. The numbers are drawn from the
    seed, so that they tell nothing of the order of the file."""
    domain: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    """Which domain each row is of, [B] int64: the sources count from 0, the target comes after them."""
    features: Tensor
    """What the backbone calls its features, [B, D]."""
    logits: Tensor
    """Output of the backbone's head, [B, K]."""
    layers: dict[str, Tensor]
    """All that the backbone's `embed` returned, the features included."""
    shared: dict[Any, Tensor] = field(default_factory=dict, repr=False)
    """What terms have in common, one table for both views of a step: read by `joined` and `joint_distances`
    of `datk.nn`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceView(View):
    """A view of the labelled domain."""

    labels: Tensor
    """Class of each row, [B] int64; of a regression the standardised numbers, [B] or [B, T] float32."""
    weights: Tensor | None = None
    """How much each row counts where the domains are compared, [B] with mean 1 over the training rows: the
    share of its class that is estimated for the target over that in the source (`train.label_shift`). None if
    all count alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetView(View):
    """A view of the unlabelled domain."""


class Network(Protocol):
    """The backbone as a step trains it, for a pass of a term's own."""

    def __call__(self, x: Tensor, domain: Tensor | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """Layers and logits of rows x [B, *shape], with gradient. Running statistics stay as they are.

        domain: [B], which a backbone that goes by domain is told; the target if not given.
        """


class Step(NamedTuple):
    """Where training stands."""

    progress: Tensor
    """From 0 at the first step towards 1 after the last; 0-d, on the device."""
    phase: str
    """Name of the running phase; "train" unless the alignment defines phases."""
    epoch: Tensor = torch.zeros(())
    """Epochs done before this one, for warm-ups; 0-d, on the device."""
    network: Network | None = None
    """Passes other rows than the batch's through the backbone, for instance perturbed ones."""


class Phase(NamedTuple):
    """One optimisation problem within a step; a method such as MCD alternates several of them."""

    name: str = "train"
    """What `Step.phase` says."""
    updates: tuple[Literal["trunk", "head", "terms"], ...] = ("trunk", "head", "terms")
    """Whose parameters are stepped: the backbone's trunk, its head, those that the loss terms own."""
    supervised: bool = True
    """Whether the loss on the source's labels is part of the loss."""
    regularized: bool = True
    """Whether the regularizers are part of the loss."""
    repeat: int = 1
    """How often the phase runs on the same batch."""
    passes: tuple[Literal["source", "target"], ...] = ("source", "target")
    """Whose rows go through the network; the view of the other domain has none. An epoch of phases that pass
    the target alone goes once over the target's rows."""


@dataclass(frozen=True, slots=True)
class EpochRows:
    """The training rows of both domains in the order of their `index`, without augmentation. Each is read
    when it is iterated over, a batch at a time, and can be iterated over again."""

    source: Iterable[SourceBatch]
    target: Iterable[TargetBatch]
