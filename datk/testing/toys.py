"""What components are tried on: small data, a small network, views without a network."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from datk.base.options import ComponentConfig
from datk.base.rng import numpy_generator, torch_generator
from datk.interfaces import (
    AlignmentLoss,
    Backbone,
    DomainPair,
    PairInfo,
    Samples,
    SourceView,
    Step,
    TargetView,
)

CLASSES = ("a", "b", "c")
FEATURES = 24
IMAGES, VECTORS = (2, 12, 12), (7,)
SOURCE, TARGET = (15, 14, 4), (17, 18, 6)
"""Rows of each class. Nothing else of the toys is as long, so that what has a value for each row is known."""

Labels = Literal["classes", "numbers"]


class ToyPair(DomainPair):
    """Two Gaussian clouds of feature vectors, the target's shifted: a pair for a plugin's own tests."""

    def __init__(self, config: Any = None, rows: int = 60, features: int = 8) -> None:
        rng = numpy_generator(0, "toy-pair")
        self.classes = ("a", "b")
        self.source_labels = np.arange(rows) % 2
        self._answers = np.arange(rows) % 2
        centres = np.stack([np.zeros(features), np.full(features, 1.5)])
        noise = rng.normal(size=(2, rows, features))
        self.source = Samples((centres[self.source_labels] + noise[0]).astype(np.float32))
        self.target = Samples((centres[self._answers] + noise[1] + 0.7).astype(np.float32))

    def answers(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Class numbers of the given target rows."""
        labels: npt.NDArray[np.int64] = self._answers[rows]
        return labels


class ThreeClasses(DomainPair):
    """Three classes, of which one is rare, in domains of unequal size; the target's are paler and noisier.

    Every target row is an object of its own by its number in `groups`, which stays with its content whatever
    the order of the file, so that a split does not depend on that.

    Args:
        shape: of a sample.
        labels: `numbers` makes two numbers out of the class, for a regression.
        order: of the target's rows in the file.
        answers: of the target's rows in the first order; those that the rows were made from if not given.
        small: whether to have a third of the rows.
    """

    def __init__(
        self,
        shape: tuple[int, ...] = IMAGES,
        labels: Labels = "classes",
        order: npt.NDArray[np.int64] | None = None,
        answers: npt.NDArray[np.int64] | None = None,
        small: bool = False,
    ) -> None:
        self.classes = CLASSES if labels == "classes" else ()
        self.targets = () if labels == "classes" else ("mass", "size")
        patterns = numpy_generator(0, "patterns").normal(size=(len(CLASSES), *shape)) * 1.5

        def domain(name: str, sizes: tuple[int, ...]) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
            rng = numpy_generator(0, "trial", name)
            classes = rng.permutation(
                np.repeat(np.arange(len(sizes)), [n // 3 if small else n for n in sizes])
            )
            return classes, patterns[classes] + rng.normal(size=(len(classes), *shape))

        of_source, x = domain("source", SOURCE)
        of_target, z = domain("target", TARGET)
        rows = np.arange(len(of_target)) if order is None else order
        self.source = Samples(x.astype(np.float32))
        self.target = Samples((0.6 * z + 0.4)[rows].astype(np.float32), groups=rows)
        known = (of_target if answers is None else answers)[rows]
        self._answers: npt.NDArray[Any] = known if labels == "classes" else _numbers(known)
        self.source_labels = of_source if labels == "classes" else _numbers(of_source)

    def answers(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Labels of the given target rows."""
        labels: npt.NDArray[Any] = self._answers[rows]
        return labels


def _numbers(classes: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Two numbers for each class, of different size."""
    return np.stack([classes * 10.0 + 3, 0.1 * (classes - 1.0) ** 2], axis=1)


class SmallNetwork(Backbone):
    """A small network for images or vectors, whose features take both signs. Its layers are "maps" (of
    images), "hidden" and "features"."""

    class Config(ComponentConfig):
        """Options of the small network."""

        norm: bool = True
        """Whether there is batch normalisation, through which the rows of a batch depend on each other."""

        layers: tuple[str, ...] = ()
        """Further names for the hidden layer."""

    def __init__(self, config: Config, pair: PairInfo) -> None:
        super().__init__(config, pair)
        self.names = ("hidden", *config.layers)
        size = pair.shape[0]
        self.maps: nn.Module = nn.Identity()
        if len(pair.shape) == 3:
            convolution = nn.Conv2d(size, 6, 3, padding=1, bias=not config.norm)
            norm: nn.Module = nn.BatchNorm2d(6) if config.norm else nn.Identity()
            pool = nn.AdaptiveAvgPool2d(3)
            self.maps = nn.Sequential(convolution, norm, nn.ReLU(), pool)
            size = 6 * 3 * 3
        norm = nn.BatchNorm1d(14) if config.norm else nn.Identity()
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(size, 14, bias=not config.norm), norm, nn.ReLU())
        self.to_features = nn.Linear(14, 10)
        self.head = nn.Linear(10, pair.outputs)

    def embed(self, x: Tensor) -> dict[str, Tensor]:
        """All layers."""
        maps = self.maps(x)
        hidden = self.hidden(maps)
        layers = dict.fromkeys(self.names, hidden) | {"features": self.to_features(hidden)}
        return layers | ({"maps": maps} if x.ndim == 4 else {})


class MeanGap(AlignmentLoss):
    """Squared distance of the mean features: what backbones are tried with."""

    over_batch = True

    def forward(self, source: SourceView, target: TargetView, step: Step) -> Tensor:
        """Squared distance, 0-d."""
        return (source.features.mean(dim=0) - target.features.mean(dim=0)).square().mean()


def views(
    source_rows: int = 6, target_rows: int = 4, features: int = FEATURES
) -> tuple[SourceView, TargetView]:
    """Random views of both domains, of unequal size, whose features and logits want gradients."""
    generator = torch_generator(0, "views")

    def fields(rows: int, domain: int) -> dict[str, Any]:
        x, z, logits = (torch.randn(rows, n, generator=generator) for n in (5, features, len(CLASSES)))
        z, logits = z.relu().requires_grad_(), logits.requires_grad_()
        return {
            "x": x,
            "index": torch.arange(rows),
            "domain": torch.full((rows,), domain),
            "features": z,
            "logits": logits,
            "layers": {"features": z},
        }

    labels = torch.arange(source_rows) % len(CLASSES)
    return SourceView(**fields(source_rows, 0), labels=labels), TargetView(**fields(target_rows, 1))
