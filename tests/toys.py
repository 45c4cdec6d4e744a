"""Components for tests: a small pair of any shape, and losses that use every corner of the interface.

Named by path (`tests/toys.py:Toy`), as a user's own file is.
"""

import copy
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import nn

from datk.interfaces import (
    AlignmentLoss,
    Backbone,
    ComponentConfig,
    DomainPair,
    ParamGroup,
    Phase,
    Regularizer,
    Samples,
    Selector,
)
from datk.runs.oracle import Oracle

TOYS = f"{Path(__file__).resolve()}:"
"""What a component's name starts with, for instance `TOYS + "Toy"`."""


class ToyConfig(ComponentConfig):
    source_rows: int = 40
    target_rows: int = 50
    shape: tuple[int, ...] = (6,)
    classes: int = 2
    shift: float = 1.0
    data_seed: int = 0
    target_seed: int = 1
    permute_answers: int | None = None
    labelled: bool = True
    groups: Literal["none", "own", "shared"] = "none"
    sources: int = 1
    sorted_target: bool = False
    renamed: bool = False


class Toy(DomainPair):
    """Gaussian noise around the number of the class. The target is shifted, and its file can be sorted by
    class; of several sources each is shifted by 10 more than the one before."""

    Config = ToyConfig

    def __init__(self, config):
        self.classes = tuple(f"class {k}" for k in range(config.classes))
        self.shared_groups = config.groups == "shared"
        self.notes = ("toy data",)
        rows = np.arange(config.source_rows)
        self.source, self.source_labels = self._domain(config, config.data_seed, len(rows), 0.0)
        self.target, answers = self._domain(config, config.target_seed, config.target_rows, config.shift)
        if config.sources > 1:
            self.sources = tuple(f"telescope {k}" for k in range(config.sources))
            domain = rows // config.classes % config.sources
            moved = self.source.x + np.float32(10) * domain.reshape(-1, *[1] * len(config.shape))
            self.source = replace(self.source, x=moved.astype(np.float32), domain=domain)
        if config.renamed:
            answers = (answers + 1) % config.classes
        if config.permute_answers is not None:
            answers = np.random.default_rng(config.permute_answers).permutation(answers)
        if config.sorted_target:
            order = np.argsort(answers, kind="stable")
            self.target, answers = replace(self.target, x=self.target.x[order]), answers[order]
        self._answers = answers if config.labelled else None

    def _domain(self, config, seed, rows, shift):
        labels = np.arange(rows) % config.classes
        noise = np.random.default_rng(seed).normal(size=(rows, *config.shape))
        x = noise + shift + labels.reshape(-1, *[1] * len(config.shape))
        groups = None if config.groups == "none" else np.arange(rows) // 3
        return Samples(x.astype(np.float32), groups), labels

    def answers(self, rows):
        return None if self._answers is None else self._answers[rows]


class Centroid(AlignmentLoss):
    """Owns a parameter, a buffer that moves with every step, and draws of its own."""

    def __init__(self, config, model):
        super().__init__(config, model)
        self.scale = nn.Parameter(torch.ones(model.feature_dim))
        self.register_buffer("average", torch.zeros(model.feature_dim))
        self.register_buffer("start", torch.zeros(model.feature_dim))
        self.latest = None

    def on_epoch_start(self, backbone, rows):
        features = torch.cat([backbone.embed(batch.x)["features"] for batch in rows.target])
        self.start.copy_(features.mean(dim=0) + 0.01 * torch.randn_like(self.start))

    def forward(self, source, target, step):
        self.latest = target.features.detach().mean(dim=0)
        noise = 0.1 * torch.randn_like(source.features)
        gap = (source.features + noise - self.average - 0.1 * self.start).mean(dim=0)
        return (self.scale * gap).square().mean() + (self.scale - 1).square().mean()

    def after_step(self, backbone):
        self.average.lerp_(self.latest, 0.1)


class Teacher(Regularizer):
    """Keeps a copy of the backbone that follows it slowly."""

    def setup(self, backbone):
        self.teacher = copy.deepcopy(backbone).requires_grad_(False)

    def forward(self, source, target, step):
        return (self.teacher(target.x) - target.logits).square().mean()

    def after_step(self, backbone):
        for mine, theirs in zip(self.teacher.parameters(), backbone.parameters(), strict=True):
            mine.lerp_(theirs, 0.1)


class Wandering(Regularizer):
    """Draws after every step, beside what it computes."""

    def __init__(self, config, model):
        super().__init__(config, model)
        self.register_buffer("goal", torch.zeros(model.feature_dim))

    def forward(self, source, target, step):
        return (source.features - self.goal).square().mean()

    def after_step(self, backbone):
        self.goal += 0.1 * torch.randn_like(self.goal)


class Dropping(Backbone):
    """Drops single values of images between convolutions, or whole channels."""

    class Config(ComponentConfig):
        channels: bool = False

    def __init__(self, config, pair):
        super().__init__(config, pair)
        self.trunk = nn.Sequential(
            nn.Conv2d(pair.shape[0], 4, 3),
            nn.Dropout2d(0.3) if config.channels else nn.Dropout(0.3),
            nn.Conv2d(4, 4, 3),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
        self.head = nn.Linear(16, len(pair.classes))

    def embed(self, x):
        return {"features": self.trunk(x)}


class Discrepancy(AlignmentLoss):
    """Alternates between head and trunk, as MCD does, with a second head of its own."""

    phases = (
        Phase("all"),
        Phase("heads", updates=("head", "terms"), regularized=False),
        Phase("trunk", updates=("trunk",), supervised=False, regularized=False, repeat=2),
    )

    def __init__(self, config, model):
        super().__init__(config, model)
        self.second = nn.Linear(model.feature_dim, len(model.classes))

    def forward(self, source, target, step):
        gap = (target.logits.softmax(dim=1) - self.second(target.features).softmax(dim=1)).abs().mean()
        return -gap if step.phase == "heads" else gap

    def param_groups(self):
        return [ParamGroup(list(self.parameters()), lr_mult=3.0, weight_decay=0.0)]


class Recorder(AlignmentLoss):
    """Remembers what was called."""

    calls: ClassVar[list] = []

    def setup(self, backbone):
        self.calls.append(("setup", backbone.training, torch.is_grad_enabled()))

    def on_epoch_start(self, backbone, rows):
        sizes = [sum(len(batch.x) for batch in domain) for domain in (rows.source, rows.target)]
        self.calls.append(("epoch", *sizes, backbone.training, torch.is_grad_enabled()))

    def forward(self, source, target, step):
        self.calls.append(("forward", len(source.x), len(target.x), round(float(step.progress), 6)))
        return source.features.sum() * 0

    def after_step(self, backbone):
        self.calls.append(("after", backbone.training, torch.is_grad_enabled()))


class NanAt(Regularizer):
    """Becomes NaN at the step that it is told, counted from 1."""

    class Config(Regularizer.Config):
        step: int = 1

    def __init__(self, config, model):
        super().__init__(config, model)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, source, target, step):
        self.count += 1
        return torch.where(self.count >= self.config.step, torch.nan, 0.0) * source.features.mean()


class NanGradient(NanAt):
    """As NanAt, but only the gradient is wrong, not the value."""

    def forward(self, source, target, step):
        self.count += 1
        root = torch.where(self.count >= self.config.step, 0.0, 1.0) * source.features.square().mean()
        return (root.sqrt() - root.sqrt()) * 0 + source.features.mean() * 0


class NanGradientOfPhase(AlignmentLoss):
    """As NanGradient, in the second phase of a step."""

    phases = (Phase("one"), Phase("two", supervised=False))

    class Config(AlignmentLoss.Config):
        step: int = 1

    def __init__(self, config, model):
        super().__init__(config, model)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, source, target, step):
        if step.phase == "one":
            return source.features.mean() * 0
        self.count += 1
        root = torch.where(self.count >= self.config.step, 0.0, 1.0) * source.features.square().mean()
        return (root.sqrt() - root.sqrt()) * 0


class NanGradientOfNetwork(Backbone):
    """Its features are finite, their gradient is not."""

    def __init__(self, config, pair):
        super().__init__(config, pair)
        self.trunk = nn.Linear(pair.shape[0], 4)
        self.head = nn.Linear(4, len(pair.classes))

    def embed(self, x):
        features = self.trunk(x)
        return {"features": features + (features * 0).square().sqrt()}


class Forgetful(Regularizer):
    """Its param_groups forget a parameter."""

    def __init__(self, config, model):
        super().__init__(config, model)
        self.remembered = nn.Parameter(torch.ones(1))
        self.forgotten = nn.Parameter(torch.ones(1))

    def forward(self, source, target, step):
        return (self.remembered * self.forgotten).sum()

    def param_groups(self):
        return [ParamGroup([self.remembered])]


class Twice(Forgetful):
    """Its param_groups list a parameter twice."""

    def param_groups(self):
        return [ParamGroup([self.remembered, self.forgotten]), ParamGroup([self.forgotten])]


class Vector(Regularizer):
    """Gives no number but a vector."""

    def forward(self, source, target, step):
        return source.features.mean(dim=0)


class Lazy(Regularizer):
    """Owns a parameter that its value does not depend on."""

    def __init__(self, config, model):
        super().__init__(config, model)
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, source, target, step):
        return target.features.square().mean()


class EmptyPhase(AlignmentLoss):
    """A phase that updates terms which have no parameters."""

    phases = (Phase("terms", updates=("terms",)),)

    def forward(self, source, target, step):
        return source.features.mean()


class UnknownOwner(EmptyPhase):
    """A phase that updates what there is not."""

    phases = (Phase("odd", updates=("backbone",)),)


class SameNames(EmptyPhase):
    """Two phases of one name."""

    phases = (Phase("one"), Phase("one", updates=("head",)))


# --- selectors -----------------------------------------------------------------------------------------


class Certain(Selector):
    """Most certain predictions on the target. Remembers what it was shown."""

    shown: ClassVar[list] = []

    def score(self, source, target):
        self.shown.append((source, target))
        return float((target.logits.softmax(dim=1).square()).sum(dim=1).mean())


class Scripted(Selector):
    """Gives the scores that a test has written down, one an epoch."""

    needs_target = False
    scores: ClassVar[list] = []

    def score(self, source, target):
        assert len(target.logits) == len(target.features) == 0
        return self.scores.pop(0)


class Peeking(Oracle):
    """Hopes that what the oracle is given is given to its heirs."""
