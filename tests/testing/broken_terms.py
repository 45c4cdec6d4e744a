"""Alignments and regularizers that are wrong, each in one way; most of them train without a sound."""

import copy

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from datk.interfaces import AlignmentLoss, ParamGroup, Phase, Regularizer, TermConfig


def gap(source, target):
    """A distance that is right."""
    return (source.mean(dim=0) - target.mean(dim=0)).square().mean()


class Right(AlignmentLoss):
    """What the others are made of."""

    over_batch = True

    def forward(self, source, target, step):
        return gap(source.features, target.features)


class TwoPhases(Right):
    """Right, in two phases."""

    phases = (Phase("first"), Phase("second", updates=("trunk",), supervised=False))


# --- what does not train -------------------------------------------------------------------------------


class DetachedLoss(Right):
    """Its value is cut off."""

    def forward(self, source, target, step):
        return super().forward(source, target, step).detach()


class DetachedFeatures(AlignmentLoss):
    """A domain classifier that the features do not hear of."""

    def __init__(self, config, model):
        super().__init__(config, model)
        self.classifier = nn.Linear(model.feature_dim, 1)

    def forward(self, source, target, step):
        here, there = (self.classifier(view.features.detach()) for view in (source, target))
        return (nn.functional.softplus(-here).mean() + nn.functional.softplus(there).mean()) / 2


class IgnoresTarget(AlignmentLoss):
    """Compares the source with itself."""

    def forward(self, source, target, step):
        return source.features.square().mean()


class IgnoresSource(AlignmentLoss):
    """Compares the target with itself."""

    over_batch = True

    def forward(self, source, target, step):
        return gap(target.features[::2], target.features[1::2])


class Nothing(AlignmentLoss):
    """Is 0, by mistake, and does nothing else."""

    def forward(self, source, target, step):
        return (source.features.mean() - source.features.mean()) * target.features.mean()


class Unmoved(Right):
    """Owns a parameter that its value does not depend on."""

    def __init__(self, config, model):
        super().__init__(config, model)
        self.unused = nn.Parameter(torch.ones(3))


class Ungrouped(Right):
    """Lists none of its parameters."""

    def __init__(self, config, model):
        super().__init__(config, model)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, source, target, step):
        return self.scale * super().forward(source, target, step)

    def param_groups(self):
        return []


class Vector(AlignmentLoss):
    """Gives a vector."""

    def forward(self, source, target, step):
        return source.features.mean(dim=1)


# --- what is told by what it must not know -------------------------------------------------------------


class ReadsOrder(AlignmentLoss):
    """Takes the order of the target's rows for that of a file sorted by class."""

    def __init__(self, config, model):
        super().__init__(config, model)
        self.rows, self.classes = model.target_size, len(model.classes)

    def forward(self, source, target, step):
        return cross_entropy(target.logits, target.index * self.classes // self.rows)


class Unseeded(Right):
    """Draws from a generator that no seed reaches."""

    generator = torch.Generator().manual_seed(0)

    def forward(self, source, target, step):
        noise = torch.randn(source.features.shape[1], generator=self.generator).to(source.x.device)
        return gap(source.features + noise, target.features)


# --- what a resumed run has forgotten ------------------------------------------------------------------


class MovesAttribute(Right):
    """Moves an average after each step that is no buffer."""

    def __init__(self, config, model):
        super().__init__(config, model)
        self.average = torch.zeros(model.feature_dim)

    def forward(self, source, target, step):
        self.latest = target.features.detach().mean(dim=0)
        return gap(source.features, target.features - self.average)

    def after_step(self, backbone):
        self.average = self.average.to(self.latest) + 0.1 * self.latest


class MovesUnsavedBuffer(Right):
    """Moves a buffer after each step that is not saved."""

    def __init__(self, config, model):
        super().__init__(config, model)
        self.register_buffer("steps", torch.zeros(()), persistent=False)

    def forward(self, source, target, step):
        return (1 + self.steps) * super().forward(source, target, step)

    def after_step(self, backbone):
        self.steps += 1


class CountsInForward(Right):
    """Counts its calls in an attribute."""

    calls = 0

    def forward(self, source, target, step):
        self.calls += 1
        return self.calls * super().forward(source, target, step)


class HiddenTeacher(AlignmentLoss):
    """Predicts with a teacher that it keeps in a list, which nothing saves."""

    over_batch = True

    def setup(self, backbone):
        self.teachers = [copy.deepcopy(backbone).eval()]

    def forward(self, source, target, step):
        return gap(source.features, target.features)

    def after_step(self, backbone):
        for mine, theirs in zip(self.teachers[0].parameters(), backbone.parameters(), strict=True):
            mine.lerp_(theirs, 0.1)

    def predictor(self, backbone):
        return self.teachers[0]


# --- what waits for the device -------------------------------------------------------------------------


class Undocumented(TermConfig):
    knob: float = 1.0


class ReadsInForward(Right):
    """Calls item() in forward."""

    Config = Undocumented

    def forward(self, source, target, step):
        return super().forward(source, target, step) * (1 + source.features.max().item())


class ReadsAfterStep(Right):
    """Calls item() after each step."""

    def __init__(self, config, model):
        super().__init__(config, model)
        self.register_buffer("steps", torch.zeros(()))

    def after_step(self, backbone):
        self.steps += 1
        if self.steps.item() > 1e6:
            self.steps.zero_()


class ReadsInSecondPhase(TwoPhases):
    """Calls item() in its second phase alone."""

    def forward(self, source, target, step):
        value = super().forward(source, target, step)
        return value * (1 + abs(value.item())) if step.phase == "second" else value


class AsksTensor(Right):
    """Has an `if` that waits for a value."""

    def forward(self, source, target, step):
        value = super().forward(source, target, step)
        return value if step.progress < 2 else 2 * value


class SelectsByMask(Right):
    """Selects rows by a mask, of which nobody knows how many there are until the device has counted."""

    def forward(self, source, target, step):
        chosen = source.features[source.labels >= 0]
        return gap(chosen, target.features)


class ConstantOfHost(Right):
    """Makes a constant in forward where the CPU is."""

    def forward(self, source, target, step):
        weights = torch.linspace(0, 1, source.features.shape[1])
        return gap(source.features * weights, target.features * weights)


# --- what is wrong somewhere else ----------------------------------------------------------------------


class SumInTraining(AlignmentLoss):
    """A mean over rows in evaluation mode, a sum in training mode."""

    def forward(self, source, target, step):
        squares = source.features.square() + target.features.mean() ** 2 * 0
        return squares.sum() if self.training else squares.mean()


class CrashesInSecondPhase(TwoPhases):
    """Crashes in its second phase."""

    def forward(self, source, target, step):
        if step.phase == "second":
            return gap(source.features, target.features[:, :2])
        return super().forward(source, target, step)


class NanInSecondPhase(TwoPhases):
    """Is not a number in its second phase."""

    def forward(self, source, target, step):
        value = super().forward(source, target, step)
        return value * (-value - 1).log() if step.phase == "second" else value


class NanWithoutClass(AlignmentLoss):
    """Averages over classes, of which a batch may lack one."""

    over_batch = True

    def __init__(self, config, model):
        super().__init__(config, model)
        self.classes = len(model.classes)

    def forward(self, source, target, step):
        of_class = nn.functional.one_hot(source.labels, self.classes).to(source.features)
        centres = of_class.mT @ source.features / of_class.sum(dim=0)[:, None]
        return (centres.mean(dim=0) - target.features.mean(dim=0)).square().mean()


class CrashesWithoutFirstClass(NanWithoutClass):
    """Needs rows of the first class, of which there are many in most batches."""

    needs_classes = True

    def forward(self, source, target, step):
        first = source.features * (source.labels == 0).to(source.features)[:, None]
        count = (source.labels == 0).sum()
        torch._assert_async(count > 0)
        return (first.sum(dim=0) / count - target.features.mean(dim=0)).square().mean()


class ChangesView(Right):
    """Scales the features of all other terms, too."""

    def forward(self, source, target, step):
        with torch.no_grad():
            target.features.mul_(0.5)
        return super().forward(source, target, step)


class ChangesData(Right):
    """Changes the images of a batch behind autograd's back."""

    def forward(self, source, target, step):
        source.x.data.clamp_(-1, 1)
        return super().forward(source, target, step)


class TakesClasses(Regularizer):
    """Takes labels for numbers of classes and does not say so."""

    needs_target = False

    def __init__(self, config, model):
        super().__init__(config, model)
        self.centres = nn.Parameter(torch.zeros(max(1, len(model.classes)), model.feature_dim))

    def forward(self, source, target, step):
        return (source.features - self.centres[source.labels]).square().mean()

    def param_groups(self):
        return [ParamGroup([self.centres])]
