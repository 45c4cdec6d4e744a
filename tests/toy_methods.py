"""Small methods, one for each thing that a component may do beside giving a value.

Named by path (`tests/toy_methods.py:Consistency`), as a user's own file is.
"""

import copy
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from datk.interfaces import AlignmentLoss, Backbone, ComponentConfig, Phase, Regularizer, TermConfig
from datk.nn import reverse_gradient

METHODS = f"{Path(__file__).resolve()}:"
"""What a component's name starts with, for instance `METHODS + "Consistency"`."""


# --- the step ------------------------------------------------------------------------------------------


class Consistency(Regularizer):
    """Predictions on the target that do not change under noise: passes it through the network again."""

    def forward(self, source, target, step):
        layers, logits = step.network(target.x + 0.3 * torch.randn_like(target.x))
        gap = (logits - target.logits.detach()).square().mean()
        return gap, {"gap": gap, "size": layers["features"].norm()}


class WarmUp(Regularizer):
    """Sets in after some epochs."""

    class Config(TermConfig):
        epochs: int = 2

    def forward(self, source, target, step):
        on = step.epoch.ge(self.config.epochs).float()
        return on * source.features.square().mean(), {"epoch": step.epoch}


class Logging(Regularizer):
    """A term with a gradient, and a number that is not defined in every other epoch."""

    def forward(self, source, target, step):
        odd = step.epoch.remainder(2)
        return source.features.mean(), {"often": odd / odd, "mean": target.features.mean()}


# --- phases --------------------------------------------------------------------------------------------


class SourceFree(AlignmentLoss):
    """Certain predictions on the target; no source row passes."""

    phases = (Phase("target", supervised=False, passes=("target",)),)

    def forward(self, source, target, step):
        p = target.logits.softmax(dim=1)
        return -(p * p.clamp_min(1e-9).log()).sum(dim=1).mean()


class InTurn(SourceFree):
    """Source and target pass one after the other."""

    phases = (Phase("source", passes=("source",)), Phase("target", supervised=False, passes=("target",)))

    def forward(self, source, target, step):
        seen = source if step.phase == "source" else target
        assert len(seen.x) > 0
        assert len(source.x) * len(target.x) == 0
        return seen.features.square().mean()


class SupervisedTarget(SourceFree):
    """Asks for labels of rows that do not pass."""

    phases = (Phase("target", passes=("target",)),)


class NobodyPasses(SourceFree):
    """A phase without rows."""

    phases = (Phase("empty", supervised=False, passes=()),)


class Unneeded(SourceFree):
    """Passes the target alone and says that it does not look at it."""

    needs_target = False


class Starting(SourceFree):
    """Starts from the weights of another run."""

    needs_init = True


# --- what terms own ------------------------------------------------------------------------------------


class SecondHead(AlignmentLoss):
    """Makes a second head of the first one and trains it on the source."""

    called: ClassVar[list] = []

    def setup(self, backbone):
        parts = [backbone, backbone.head]
        self.called.append(([part.training for part in parts], next(backbone.parameters()).device.type))
        self.second = copy.deepcopy(backbone.head).train()

    def forward(self, source, target, step):
        return cross_entropy(self.second(source.features.detach()), source.labels)


class Modes(Regularizer):
    """A teacher that its author has in evaluation mode, and a critic with dropout that is in training mode.
    Remembers the modes that it sees."""

    seen: ClassVar[list] = []

    def __init__(self, config, model):
        super().__init__(config, model)
        self.critic = nn.Sequential(nn.Linear(model.feature_dim, 3), nn.Dropout(0.5))

    def setup(self, backbone):
        self.teacher = copy.deepcopy(backbone).eval().requires_grad_(False)

    def on_epoch_start(self, backbone, rows):
        self.seen.append(("epoch", backbone.training, self.teacher.training, self.critic[1].training))

    def forward(self, source, target, step):
        self.seen.append(("step", True, self.teacher.training, self.critic[1].training))
        return (self.critic(source.features).square().mean() + self.teacher(target.x).mean()) * 0.1


class Critic(AlignmentLoss):
    """A domain classifier whose gradient is reversed for the features."""

    def __init__(self, config, model):
        super().__init__(config, model)
        self.classifier = nn.Linear(model.feature_dim, 1)

    def forward(self, source, target, step):
        logits = [self.classifier(reverse_gradient(view.features)) for view in (source, target)]
        return nn.functional.softplus(-logits[0]).mean() + nn.functional.softplus(logits[1]).mean()


class NetworkCritic(Critic):
    """The same, of rows that it passes itself."""

    def forward(self, source, target, step):
        layers, _ = step.network(target.x)
        return self.classifier(layers["features"]).mean()


# --- rows ----------------------------------------------------------------------------------------------


class Reading(AlignmentLoss):
    """Reads the training rows of both domains twice, and remembers them."""

    seen: ClassVar[list] = []

    def on_epoch_start(self, backbone, rows):
        self.seen.append([(list(rows.source), list(rows.target)) for _ in range(2)])

    def forward(self, source, target, step):
        return source.features.mean() * 0


class GuessByIndex(AlignmentLoss):
    """Takes the number of a target row for its place in a file that is sorted by class."""

    def __init__(self, config, model):
        super().__init__(config, model)
        self.size, self.classes = model.target_size, len(model.classes)

    def forward(self, source, target, step):
        return 10 * cross_entropy(target.logits, target.index * self.classes // self.size)


class GuessByOrder(GuessByIndex):
    """The same of the order in which rows are shown before an epoch."""

    def on_epoch_start(self, backbone, rows):
        x = torch.cat([batch.x for batch in rows.target])
        self.register_buffer("x", x, persistent=False)

    def forward(self, source, target, step):
        place = torch.cdist(target.x.flatten(1), self.x.flatten(1)).argmin(dim=1)
        return 10 * cross_entropy(target.logits, place * self.classes // self.size)


# --- of all terms --------------------------------------------------------------------------------------


class Weighing(Regularizer):
    """Weighs the labelled rows: those of class 0 do not count."""

    def supervision(self, losses, source, target, step):
        return (losses * (source.labels > 0)).mean()

    def forward(self, source, target, step):
        return source.features.mean() * 0


class WeighingToo(Weighing):
    """Another one."""


class WeighsToRows(Weighing):
    """Gives a loss for each row."""

    def supervision(self, losses, source, target, step):
        return losses


class Averaged(Regularizer):
    """Predicts with an average of the past weights, a backbone of its own; or with a module that is none."""

    class Config(TermConfig):
        wrapped: bool = False

    def setup(self, backbone):
        self.average = copy.deepcopy(backbone).requires_grad_(False)
        self.wrapped = nn.Sequential(self.average)

    def forward(self, source, target, step):
        return source.features.mean() * 0

    def after_step(self, backbone):
        for mine, theirs in zip(self.average.parameters(), backbone.parameters(), strict=True):
            mine.lerp_(theirs, 0.2)

    def predictor(self, backbone):
        return self.wrapped if self.config.wrapped else self.average


class Planning(AlignmentLoss):
    """Batches of one class of the source at a time; or plans that cannot be."""

    class Config(TermConfig):
        plan: str = "classes"

    asked: ClassVar[list] = []
    batches: ClassVar[list] = []

    def __init__(self, config, model):
        super().__init__(config, model)
        self.target_size = model.target_size

    def plan(self, labels, steps, batch, generator):
        self.asked.append((labels, steps, batch))
        lines = []
        for step in range(steps):
            rows = torch.nonzero(labels == step % 2).flatten()
            lines.append(rows[torch.randint(len(rows), (batch,), generator=generator)])
        source = torch.stack(lines)
        target = torch.randint(self.target_size, (steps, 5), generator=generator)
        return {
            "classes": (source, target),
            "none": None,
            "one": source,
            "flat": (source.flatten(), target),
            "short": (source, target[1:]),
            "empty": (source[:, :0], target),
            "fractions": (source, target.float()),
            "beyond": (source, target + self.target_size),
            "negative": (source - len(labels), target),
        }[self.config.plan]

    def forward(self, source, target, step):
        self.batches.append((source.index, source.labels, target.index))
        return target.features.mean() * 0


# --- backbones -----------------------------------------------------------------------------------------


class ByDomain(Backbone):
    """Batch normalisation of each domain by itself. Remembers how many rows of which domain it embedded, and
    in which mode."""

    by_domain = True
    seen: ClassVar[list] = []

    def __init__(self, config, pair):
        super().__init__(config, pair)
        self.trunk = nn.Linear(pair.shape[0], 8)
        self.norms = nn.ModuleList(nn.BatchNorm1d(8) for _ in pair.domains)
        self.head = nn.Linear(8, pair.outputs)

    def embed(self, x, domain):
        self.seen.append((self.training, domain.tolist()))
        features = self.trunk(x).relu()
        for number, norm in enumerate(self.norms):
            own = domain == number
            if own.any():
                features = features.index_put((own,), norm(features[own]))
        return {"features": features}


class Counting(Backbone):
    """Normalises batches, counts its passes in a buffer, may drop values; remembers the shapes it embeds."""

    class Config(ComponentConfig):
        dropout: float = 0.0

    shapes: ClassVar[list] = []

    def __init__(self, config, pair):
        super().__init__(config, pair)
        self.trunk = nn.Sequential(
            nn.Linear(pair.shape[0], 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(config.dropout)
        )
        self.head = nn.Linear(8, pair.outputs)
        self.register_buffer("passes", torch.zeros(()))
        self.register_buffer("latest", torch.zeros(8), persistent=False)

    def embed(self, x):
        if self.training:
            self.shapes.append(tuple(x.shape))
            self.passes += 1
        features = self.trunk(x)
        self.latest = features.detach().mean(dim=0)
        return {"features": features}
