"""What is predicted, and which epoch predicts it best."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy.typing as npt
from torch import Tensor, nn

from datk.base.options import ComponentConfig
from datk.interfaces.models import PairInfo


class Metric(NamedTuple):
    """A number that says how good predictions are."""

    title: str
    """What tables call it."""
    more_is_better: bool = True
    in_label_units: bool = False
    """Whether it has the unit of the labels. Such a number may be of any size, so that tables show
    significant digits in place of three decimals."""


class Task(nn.Module, ABC):
    """What is to be predicted: the size of the head, the loss of a row, the metrics.

    Constants that it finds in the training labels are buffers, and saved with the model.
    """

    Config: ClassVar[type[ComponentConfig]] = ComponentConfig
    predicts_classes: ClassVar[bool] = False
    """Whether logits are scores of classes, so that components may take their softmax."""
    metrics: ClassVar[Mapping[str, Metric]]
    """The metrics by name, in the order of tables; the first is shown while training goes on. Where several
    numbers are predicted, `score` may also give those of each, as `mae NAME` for the metric `mae`."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def outputs(self, pair: PairInfo) -> int:
        """Size K of the head's output. Raises `DataError` for a pair whose labels are of another kind."""

    @abstractmethod
    def check(self, labels: npt.NDArray[Any], pair: PairInfo) -> None:
        """Look at labels, [N] or [N, T], as the pair gives them. Raises `DataError` for what is no label."""

    def fit(self, labels: npt.NDArray[Any]) -> None:
        """Look at the labels of the source's training rows, before training, for instance to find their
        scale."""

    def encode(self, labels: Tensor) -> Tensor:
        """Labels as the loss and the components want them, of labels as the pair gives them."""
        return labels

    @abstractmethod
    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Loss of each row [B], of outputs [B, K] and encoded labels."""

    @abstractmethod
    def score(self, outputs: Tensor, labels: Tensor) -> dict[str, float | int | None]:
        """The metrics by name, and `n`, of outputs [N, K] and labels as the pair gives them; None for one
        that is not defined there. Every row has a label, and there is one at least."""

    def headline(self, outputs: Tensor, labels: Tensor) -> float | None:
        """The first metric, which is wanted after every epoch, of outputs and encoded labels; None where it
        is not defined."""
        return self.score(outputs, labels)[next(iter(self.metrics))]


class Outputs(NamedTuple):
    """What the predictor says of rows of a domain, on the CPU, float32."""

    features: Tensor
    """[N, D]"""
    logits: Tensor
    """[N, K]"""
    labels: Tensor | None
    """[N] as the task encodes them; None for the target."""


class Selector(ABC):
    """Says which epoch's weights are kept: those with the largest score, the earliest of equal ones."""

    Config: ClassVar[type[ComponentConfig]] = ComponentConfig
    needs_target: ClassVar[bool] = True
    """Whether it looks at the target, whose validation rows are then passed through the network each
    epoch."""
    needs_classes: ClassVar[bool] = False
    """Whether it takes logits for scores of classes."""
    latest_of_equals: ClassVar[bool] = False
    """Whether of epochs with equal scores the latest is kept."""

    def __init__(self, config: Any, task: Task) -> None:
        self.config, self.task = config, task

    @abstractmethod
    def score(self, source: Outputs, target: Outputs) -> float:
        """More is better. `source` are validation rows with labels, `target` are rows without."""
