"""All that the author of a component reads: batches, views, and the four kinds of component.

A whole alignment plugin, `energy.py`, usable at once with `--align ./energy.py:Energy`:

    import torch
    from datk.interfaces import AlignmentLoss

    class Energy(AlignmentLoss):
        '''Energy distance between the two feature clouds (Szekely & Rizzo 2013).'''

        over_batch = True  # no mean over rows

        def forward(self, source, target, step):
            between = torch.cdist(source.features, target.features).mean()
            within = torch.cdist(source.features, source.features).mean()
            return 2 * between - within - torch.cdist(target.features, target.features).mean()

Components never see the label of a target sample: the types below have no field for one.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from datk.records import Record

__all__ = [
    "AlignmentLoss",
    "Array",
    "Backbone",
    "ComponentConfig",
    "DomainPair",
    "LossTerm",
    "ModelInfo",
    "PairInfo",
    "ParamGroup",
    "Phase",
    "Regularizer",
    "Samples",
    "SourceBatch",
    "SourceView",
    "Step",
    "TargetBatch",
    "TargetView",
    "TermConfig",
    "View",
]


# --- configuration of components -----------------------------------------------------------------------


class ComponentConfig(BaseModel):
    """Options of one component. The docstring under a field is its documentation everywhere."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False, validate_default=True
    )


class TermConfig(ComponentConfig):
    """Options that the core gives every alignment and regularizer."""

    weight: float = Field(1.0, ge=0)
    """Factor of this term in the total loss."""

    ramp: Literal["constant", "linear", "dann"] = "constant"
    """How the weight grows over training: at once, linearly from 0, or 2 / (1 + exp(-10 p)) - 1 with the
    progress p from 0 to 1 (Ganin et al. 2016)."""


# --- batches and views ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SourceBatch:
    """Rows of the source: x [B, C, H, W] or [B, F], labels y [B], index [B] into the training rows."""

    x: Tensor
    y: Tensor
    index: Tensor


@dataclass(frozen=True, slots=True)
class TargetBatch:
    """Rows of the target: x [B, C, H, W] or [B, F], index [B] into the training rows. There are no labels."""

    x: Tensor
    index: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a loss sees of one domain in one step; floating tensors are float32."""

    x: Tensor
    """Standardised input, [B, C, H, W] or [B, F]."""
    index: Tensor
    """Position of each row among the training rows of its domain, [B] int64."""
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
    """Class of each row, [B] int64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetView(View):
    """A view of the unlabelled domain."""


class Step(NamedTuple):
    """Where training stands."""

    progress: Tensor
    """From 0 at the first step towards 1 after the last; 0-d, on the device."""
    phase: str
    """Name of the running phase; "train" unless the alignment defines phases."""


class Phase(NamedTuple):
    """One optimisation problem within a step; a method such as MCD alternates several of them."""

    name: str = "train"
    """What `Step.phase` says."""
    updates: tuple[Literal["trunk", "head", "terms"], ...] = ("trunk", "head", "terms")
    """Whose parameters are stepped: the backbone's trunk, its head, those that the loss terms own."""
    supervised: bool = True
    """Whether the cross-entropy on the source is part of the loss."""
    regularized: bool = True
    """Whether the regularizers are part of the loss."""
    repeat: int = 1
    """How often the phase runs on the same batch."""


# --- what components are told about each other ---------------------------------------------------------


@dataclass(frozen=True)
class PairInfo:
    """What a backbone is told of the data."""

    shape: tuple[int, ...]
    """Of one sample: (channels, height, width), or (features,)."""
    classes: tuple[str, ...]
    """Names of the classes; label k means classes[k]."""


@dataclass(frozen=True)
class ModelInfo:
    """What a loss term is told of the model and the training data."""

    classes: tuple[str, ...]
    """Names of the classes."""
    layers: dict[str, tuple[int, ...]]
    """Shape of one sample in each of the backbone's layers."""
    source_size: int
    """Number of training rows of the source."""
    target_size: int
    """Number of training rows of the target."""

    @property
    def feature_dim(self) -> int:
        """Length D of the feature vector."""
        return self.layers["features"][0]


@dataclass(frozen=True)
class ParamGroup:
    """Parameters that share settings of the optimiser."""

    params: list[nn.Parameter]
    lr_mult: float = 1.0
    """Factor on the scheduled learning rate."""
    weight_decay: float | None = None
    """Instead of `train.weight_decay`; None keeps that one."""


# --- backbones and losses ------------------------------------------------------------------------------


class Backbone(nn.Module, ABC):
    """A trunk that makes features and a head that classifies them.

    A subclass builds its trunk in `__init__(self, config, pair)` and sets `self.head`, a module from
    features [B, D] to logits [B, K]. Its docstring's first line is its summary, a line that starts with
    `Reference:` its source.
    """

    Config: ClassVar[type[ComponentConfig]] = ComponentConfig
    head: nn.Module

    @abstractmethod
    def __init__(self, config: Any, pair: PairInfo) -> None:
        """Build the layers for samples of `pair.shape`; raise `DataError` for shapes that cannot work."""
        super().__init__()

    @abstractmethod
    def embed(self, x: Tensor) -> dict[str, Tensor]:
        """Layers of a batch x [B, *shape]; "features" [B, D] must be among them."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, K] of a batch x [B, *shape]."""
        logits: Tensor = self.head(self.embed(x)["features"])
        return logits

    def param_groups(self) -> list[ParamGroup]:
        """Every parameter that is to be trained, once; one group with the common settings by default."""
        return [ParamGroup(list(self.parameters()))]


class LossTerm(nn.Module, ABC):
    """A term of the loss. It may own parameters (centres, a domain classifier) and buffers: all are
    moved to the device, optimised, saved, and restored on resume.

    Nothing in `forward` may leave the device: no `.item()`, no `if tensor`. Constants are buffers.
    """

    Config: ClassVar[type[TermConfig]] = TermConfig
    needs_target: ClassVar[bool] = True
    """Whether `forward` looks at the target. A run none of whose terms does never shows it to the network,
    so that batch normalisation of a source-only baseline knows the source only."""
    over_batch: ClassVar[bool] = False
    """Whether the value is something else than a mean over rows, so that the mean of the values of two halves
    of a batch is not that of the whole (distances between distributions, sums). Where several processes train
    together such a term sees the rows of all of them, others those of their own."""

    def __init__(self, config: Any, model: ModelInfo) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def forward(self, source: SourceView, target: TargetView, step: Step) -> Tensor:
        """The term's value, a 0-d tensor, before weight and ramp."""

    def param_groups(self) -> list[ParamGroup]:
        """The term's own parameters; one group with the common settings by default."""
        params = list(self.parameters())
        return [ParamGroup(params)] if params else []

    def setup(self, backbone: Backbone) -> None:
        """Called once before the first step, for instance to copy a teacher. It is called on resume too: what
        it makes is then given the values of the checkpoint."""

    def on_epoch_start(self, backbone: Backbone, target: Iterable[TargetBatch]) -> None:
        """Called before each epoch; `target` gives the training rows in order, without augmentation."""

    def after_step(self, backbone: Backbone) -> None:
        """Called after each step of the optimiser, for instance to move an average."""


class AlignmentLoss(LossTerm):
    """A term that draws the two domains together."""

    phases: ClassVar[tuple[Phase, ...]] = (Phase(),)
    """Optimisation problems of one step, in order. Of several alignments at most one may change this."""


class Regularizer(LossTerm):
    """A term that shapes the features or the predictions."""


# --- data ----------------------------------------------------------------------------------------------


class Array(Protocol):
    """Rows that can be read a few at a time: a NumPy array, a memory map, an HDF5 dataset."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, ...]."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of an element."""

    def __getitem__(self, rows: Any, /) -> Any:
        """Rows of a slice or of a strictly increasing integer array, as a NumPy array."""


@dataclass(frozen=True)
class Samples:
    """The samples of one domain, without labels."""

    x: Array
    """[N, C, H, W] or [N, F], any real dtype; read, never written."""
    groups: npt.NDArray[np.int64] | None = None
    """[N] number of the object a row shows; rows of one object stay in one split."""
    test: npt.NDArray[np.bool_] | None = None
    """[N] true for the rows of a fixed test split."""
    in_memory: bool = field(default=True)
    """False for rows on disk: they are copied to the device only if they fit, and streamed otherwise."""


class DomainPair(ABC):
    """Two sets of samples of the same classes: a labelled source and a target.

    A subclass reads or makes its data in `__init__(self, config)` and sets the attributes below.
    """

    Config: ClassVar[type[ComponentConfig]] = ComponentConfig

    classes: tuple[str, ...]
    """Names of the classes in the order of their numbers; with two classes the second is the positive one."""
    source: Samples
    target: Samples
    source_labels: npt.NDArray[np.int64]
    """[N] class number of each source row."""
    shared_groups: bool = False
    """True if equal group numbers in the two domains mean the same object."""
    record: ClassVar[Record | None] = None
    """Published data that the pair needs, which `datk data fetch` brings."""
    notes: tuple[str, ...] = ()
    """What everybody who reads a result must know, for instance that the data are synthetic."""

    @abstractmethod
    def __init__(self, config: Any) -> None:
        """Read or make the data; raise `DataError` if that fails."""

    @abstractmethod
    def answers(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64] | None:
        """Class numbers of the given target rows, None if unknown. Only `datk.evaluate` calls this."""
