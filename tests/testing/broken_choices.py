"""Selectors and tasks that are wrong, each in one way."""

import math
from typing import ClassVar

import numpy as np
import torch

from datk.interfaces import DataError, Metric, Selector, Task

# --- selectors -----------------------------------------------------------------------------------------


class Confident(Selector):
    """A selector that is right."""

    needs_classes = True

    def score(self, source, target):
        return target.logits.softmax(dim=1).amax(dim=1).mean()


class LessIsBetter(Selector):
    """Gives the loss itself."""

    needs_target = False

    def score(self, source, target):
        return self.task.loss(source.logits, source.labels).mean()


class NoNumber(Confident):
    """Is not a number."""

    def score(self, source, target):
        return math.nan


class Draws(Confident):
    """Draws a part of its score."""

    def score(self, source, target):
        return super().score(source, target) + torch.rand(())


class LooksSecretly(Confident):
    """Looks at the target and does not say so."""

    needs_target = False

    def score(self, source, target):
        return target.logits.softmax(dim=1).amax(dim=1)[0]


class WantsTargetLabels(Confident):
    """Looks for labels that it is not given."""

    def score(self, source, target):
        return (target.logits.argmax(dim=1) == target.labels).float().mean()


class WantsClasses(Selector):
    """Takes labels for numbers of classes and does not say so."""

    def score(self, source, target):
        return source.logits.argmax(dim=1).eq(source.labels).float().mean()


class ChangesOutputs(Confident):
    """Sorts the logits in place."""

    def score(self, source, target):
        target.logits.copy_(target.logits.sort(dim=1).values)
        return (
            target.logits[:, -1].mean() + source.logits.argmax(dim=1).eq(source.labels).float().mean() * 100
        )


# --- tasks ---------------------------------------------------------------------------------------------


class Squares(Task):
    """One number, scaled; a task that is right."""

    metrics: ClassVar = {"mse": Metric("MSE", more_is_better=False)}

    def __init__(self, config):
        super().__init__(config)
        self.register_buffer("scale", torch.ones(()))

    def outputs(self, pair):
        if pair.classes:
            raise DataError("numbers only")
        return len(pair.targets)

    def check(self, labels, pair):
        if labels.dtype.kind != "f":
            raise DataError("labels must be floats")

    def fit(self, labels):
        self.scale.fill_(float(np.abs(labels).max()))

    def encode(self, labels):
        return (labels / self.scale).float()

    def loss(self, outputs, labels):
        return (outputs - labels).square().mean(dim=1)

    def score(self, outputs, labels):
        return {"mse": float((outputs * self.scale - labels).square().mean()), "n": len(labels)}

    def headline(self, outputs, labels):
        return self.score(outputs, labels * self.scale)["mse"]


class MeanLoss(Squares):
    """Gives one loss for the whole batch."""

    def loss(self, outputs, labels):
        return super().loss(outputs, labels).mean()


class MixesRows(Squares):
    """Its loss of a row depends on the others."""

    def loss(self, outputs, labels):
        return super().loss(outputs - outputs.mean(dim=0), labels)


class NoGradient(Squares):
    """Its loss has no gradient."""

    def loss(self, outputs, labels):
        return super().loss(outputs, labels).detach()


class OtherMetrics(Squares):
    """Scores by a metric that it does not name."""

    def score(self, outputs, labels):
        return {"rmse": super().score(outputs, labels)["mse"] ** 0.5, "n": len(labels)}

    def headline(self, outputs, labels):
        return 0.0


class Unscaled(Squares):
    """Forgets the scale in its metric."""

    def score(self, outputs, labels):
        return {"mse": float((outputs - labels).square().mean()), "n": len(labels)}

    def headline(self, outputs, labels):
        return super().score(outputs, labels)["mse"]


class WrongWay(Squares):
    """Calls an error something of which more is better."""

    metrics: ClassVar = {"mse": Metric("MSE")}


class TensorScores(Squares):
    """Scores by tensors."""

    def score(self, outputs, labels):
        return {"mse": (outputs * self.scale - labels).square().mean(), "n": len(labels)}


class ScaleInAttribute(Squares):
    """Keeps its scale where it is not saved."""

    def __init__(self, config):
        super().__init__(config)
        del self.scale
        self.scale = 1.0

    def fit(self, labels):
        self.scale = float(np.abs(labels).max())


class ShufflesLabels(Squares):
    """Gives encoded labels in another order."""

    def encode(self, labels):
        return super().encode(labels).sort(dim=0).values
