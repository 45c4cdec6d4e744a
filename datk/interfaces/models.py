"""Backbones, and what components are told about data and model."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from datk.base.options import ComponentConfig


@dataclass(frozen=True)
class PairInfo:
    """What a backbone and a task are told of the data."""

    shape: tuple[int, ...]
    """Of one sample: (channels, height, width), or (features,)."""
    classes: tuple[str, ...] = ()
    """Names of the classes; label k means classes[k]. Empty if the labels are numbers."""
    targets: tuple[str, ...] = ()
    """Names of the numbers that a regression predicts."""
    domains: tuple[str, ...] = ("source", "target")
    """Names of the domains by their numbers, the target last."""
    outputs: int = 0
    """Size K of the head's output, as the task says; that of the classes if not given."""
    positive: int | None = None
    """Number of the class that metrics of two classes are about, as `pair.positive` says; the second if not
    given, None for more classes or numbers."""

    def __post_init__(self) -> None:
        if not self.outputs:
            object.__setattr__(self, "outputs", len(self.classes))
        if self.positive is None and len(self.classes) == 2:
            object.__setattr__(self, "positive", 1)

    @property
    def positive_class(self) -> str | None:
        """Name of the positive class."""
        return None if self.positive is None else self.classes[self.positive]


@dataclass(frozen=True)
class ModelInfo:
    """What a loss term is told of the model and the training data."""

    classes: tuple[str, ...]
    """Names of the classes; empty for a regression."""
    layers: dict[str, tuple[int, ...]]
    """Shape of one sample in each of the backbone's layers."""
    source_size: int
    """Number of training rows of the source."""
    target_size: int
    """Number of training rows of the target."""
    shape: tuple[int, ...] = ()
    """Of one sample of the input."""
    outputs: int = 0
    """Size K of the head's output; that of the classes if not given."""
    domains: tuple[str, ...] = ("source", "target")
    """Names of the domains by their numbers, the target last."""

    def __post_init__(self) -> None:
        if not self.outputs:
            object.__setattr__(self, "outputs", len(self.classes))

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


class Backbone(nn.Module, ABC):
    """A trunk that makes features and a head that makes predictions of them.

    A subclass builds its trunk in `__init__(self, config, pair)` and sets `self.head`, a module from
    features [B, D] to outputs [B, K] with K = `pair.outputs`. Its docstring's first line is its summary, a
    line that starts with `Reference:` its source.
    """

    Config: ClassVar[type[ComponentConfig]] = ComponentConfig
    by_domain: bool = False
    """Whether `embed` takes the domain of each row as a second argument, as domain-specific batch
    normalisation needs it; an instance may set it."""
    head: nn.Module

    @classmethod
    def stands_for(cls, pair: PairInfo) -> str:
        """Name of the backbone that is built in its place for such samples, with default options; empty if it
        is one itself."""
        return ""

    @abstractmethod
    def __init__(self, config: Any, pair: PairInfo) -> None:
        """Build the layers for samples of `pair.shape`; raise `DataError` for shapes that cannot work."""
        super().__init__()

    @abstractmethod
    def embed(self, x: Tensor) -> dict[str, Tensor]:
        """Layers of a batch x [B, *shape]; "features" [B, D] must be among them. A backbone that goes by
        domain takes `domain` [B] as well."""

    def layers_of(self, x: Tensor, domain: Tensor | None = None) -> dict[str, Tensor]:
        """`embed`, told the domain [B] of each row if it asks for it. Raises `ValueError` if none is
        given."""
        if not self.by_domain:
            return self.embed(x)
        if domain is None:
            raise ValueError("a backbone that goes by domain must be told the domain of each row")
        by_domain: Callable[[Tensor, Tensor], dict[str, Tensor]] = self.embed  # type: ignore[assignment]
        return by_domain(x, domain)

    def forward(self, x: Tensor, domain: Tensor | None = None) -> Tensor:
        """Logits [B, K] of a batch x [B, *shape]."""
        logits: Tensor = self.head(self.layers_of(x, domain)["features"])
        return logits

    def param_groups(self) -> list[ParamGroup]:
        """Every parameter that is to be trained, once; one group with the common settings by default."""
        return [ParamGroup(list(self.parameters()))]
