"""Backbones and pairs that are wrong, each in one way."""

import numpy as np
import torch
from torch import nn

from datk.interfaces import (
    OTHER_CLASS,
    UNLABELLED,
    Backbone,
    ComponentConfig,
    DataError,
    DomainPair,
    Samples,
)

# --- backbones -----------------------------------------------------------------------------------------


class Plain(Backbone):
    """A backbone for vectors that is right."""

    def __init__(self, config, pair):
        super().__init__(config, pair)
        if len(pair.shape) != 1:
            raise DataError("vectors only")
        self.trunk = nn.Linear(pair.shape[0], 8)
        self.head = nn.Linear(8, pair.outputs)

    def embed(self, x):
        return {"features": self.trunk(x)}


class ByDomain(Plain):
    """Has a scale for each domain."""

    by_domain = True

    def __init__(self, config, pair):
        super().__init__(config, pair)
        self.scale = nn.Parameter(torch.ones(len(pair.domains), 8))

    def embed(self, x, domain):
        return {"features": self.trunk(x) * self.scale[domain]}


class LargeOnly(Plain):
    """Takes images of one size; right."""

    def __init__(self, config, pair):
        Backbone.__init__(self, config, pair)
        if pair.shape[1:] != (128, 128):
            raise DataError("128 x 128 pixels only")
        self.trunk = nn.Conv2d(pair.shape[0], 4, 8, stride=8)
        self.head = nn.Linear(4, pair.outputs)

    def embed(self, x):
        return {"features": self.trunk(x).mean(dim=(2, 3))}


class TakesNone(Plain):
    """Refuses everything."""

    def __init__(self, config, pair):
        raise DataError("not this one")


class TakesAll(Plain):
    """Does not say what it cannot take."""

    def __init__(self, config, pair):
        Backbone.__init__(self, config, pair)
        self.trunk = nn.Linear(16, 8)
        self.head = nn.Linear(8, pair.outputs)


class TrunkInList(Plain):
    """Keeps its trunk in a list."""

    def __init__(self, config, pair):
        super().__init__(config, pair)
        self.layers = [nn.Linear(pair.shape[0], 8), nn.ReLU()]
        self.trunk = nn.Linear(8, 8)

    def embed(self, x):
        for layer in self.layers:
            x = layer(x)
        return {"features": self.trunk(x)}


class Featureless(Plain):
    """Returns its features under another name."""

    def embed(self, x):
        return {"latent": self.trunk(x)}


class ReadsInput(Plain):
    """Looks whether there is something to see."""

    def embed(self, x):
        return {"features": self.trunk(x) if x.abs().max() > 0 else self.trunk(x) * 0}


class ChangesInput(Plain):
    """Clamps its input in place."""

    def embed(self, x):
        return {"features": self.trunk(x.clamp_(-1, 1))}


class ClassesOnly(Plain):
    """Has an output for each class, though there may be none."""

    def __init__(self, config, pair):
        super().__init__(config, pair)
        self.head = nn.Linear(8, len(pair.classes))


class ForgetsAverage(Plain):
    """Centres by an average that is not saved."""

    def __init__(self, config, pair):
        super().__init__(config, pair)
        self.average = 0.0

    def embed(self, x):
        if self.training:
            self.average = 0.9 * self.average + 0.1 * x.detach().mean(dim=0)
        return {"features": self.trunk(x - self.average)}


class Frozen(Plain):
    """Has a layer that no gradient reaches."""

    def embed(self, x):
        return {"features": self.trunk(x).detach()}


# --- pairs ---------------------------------------------------------------------------------------------


class Clouds(DomainPair):
    """Two clusters, shifted: a pair that is right."""

    classes = ("left", "right")

    def __init__(self, config):
        rng = np.random.default_rng(0)
        labels = np.arange(60) % 2
        self.source_labels, self._answers = labels, labels.copy()
        self.source = Samples(labels[:, None] * 3 + rng.normal(size=(60, 4)))
        self.target = Samples(labels[:, None] * 3 + 1 + rng.normal(size=(60, 4)))

    def answers(self, rows):
        return self._answers[rows]


class Numbers(Clouds):
    """A pair for regression that is right."""

    classes = ()
    targets = ("mass", "size")

    def __init__(self, config):
        super().__init__(config)
        self.source_labels = self._answers = np.random.default_rng(1).normal(size=(60, 2))


class SomeAnswers(Clouds):
    """Knows the classes of some target rows, and that others are of none of them: it is right."""

    def __init__(self, config):
        super().__init__(config)
        self._answers[::3], self._answers[1::7] = UNLABELLED, OTHER_CLASS


class SomeNumbers(Numbers):
    """Knows the numbers of some target rows: it is right."""

    def __init__(self, config):
        super().__init__(config)
        self._answers = np.where(np.arange(60)[:, None] % 3, self._answers, np.nan)


class FloatLabels(Clouds):
    """Has classes, and float labels."""

    def __init__(self, config):
        super().__init__(config)
        self.source_labels = self.source_labels.astype(float)


class AnswersOutOfRange(Clouds):
    """Counts its answers from 1."""

    def __init__(self, config):
        super().__init__(config)
        self._answers = self._answers + 1


class FloatAnswers(Clouds):
    """Has float answers."""

    def __init__(self, config):
        super().__init__(config)
        self._answers = self._answers / 2


class MaskOfNumbers(Clouds):
    """Marks its test rows by 1 and 0."""

    def __init__(self, config):
        super().__init__(config)
        self.target = Samples(self.target.x, test=(np.arange(60) < 12).astype(int))


class GroupsOfFloats(Clouds):
    """Numbers its objects by floats."""

    def __init__(self, config):
        super().__init__(config)
        self.source = Samples(self.source.x, groups=np.arange(60) / 2)


class AnswersInFileOrder(Clouds):
    """Gives the first answers, whatever rows are asked for."""

    def answers(self, rows):
        return self._answers[: len(rows)]


class OtherData(Clouds):
    """Draws anew each time."""

    def __init__(self, config):
        super().__init__(config)
        self.source = Samples(self.source.x + np.random.default_rng().normal(size=(60, 4)))


class NeedsPath(Clouds):
    """Needs an option."""

    class Config(ComponentConfig):
        """Options."""

        path: str
        """Where the data are."""
