"""Alignments and regularizers that keep to the interface in ways that are easily taken for wrong."""

import copy

import torch
from torch import nn

from datk.interfaces import AlignmentLoss, Phase, Regularizer


def gap(source, target):
    return (source.mean(dim=0) - target.mean(dim=0)).square().mean()


class TeacherFromSetup(Regularizer):
    """A teacher that `setup` makes and every step moves."""

    def setup(self, backbone):
        self.teacher = copy.deepcopy(backbone).requires_grad_(False)

    def forward(self, source, target, step):
        return (self.teacher(target.x) - target.logits).square().mean()

    def after_step(self, backbone):
        for mine, theirs in zip(self.teacher.parameters(), backbone.parameters(), strict=True):
            mine.lerp_(theirs, 0.1)


class Memory(Regularizer):
    """Remembers the features of each target row by its index."""

    def __init__(self, config, model):
        super().__init__(config, model)
        self.register_buffer("memory", torch.zeros(model.target_size, model.feature_dim))

    def forward(self, source, target, step):
        remembered = self.memory.clone()
        self.memory[target.index] = target.features.detach()
        return (target.features - remembered[target.index]).square().mean()


class RandomMemory(AlignmentLoss):
    """Compares with all remembered rows, which are random in the beginning."""

    over_batch = True

    def __init__(self, config, model):
        super().__init__(config, model)
        self.register_buffer("memory", torch.randn(model.target_size, model.feature_dim))

    def forward(self, source, target, step):
        remembered = self.memory.clone()
        self.memory[target.index] = target.features.detach()
        return (
            torch.cdist(source.features, remembered).mean() - torch.cdist(target.features, remembered).mean()
        )


class GradientPenalty(AlignmentLoss):
    """Steepness of the network between the domains."""

    def forward(self, source, target, step):
        rows = min(len(source.x), len(target.x))
        share = torch.rand(rows, *[1] * (source.x.ndim - 1), device=source.x.device)
        between = (share * source.x[:rows] + (1 - share) * target.x[:rows]).requires_grad_()
        _, logits = step.network(between)
        (slope,) = torch.autograd.grad(logits.square().sum(), between, create_graph=True)
        return slope.flatten(1).square().sum(dim=1).mean()


class HiddenLayer(AlignmentLoss):
    """Aligns a layer that many networks have under that name."""

    over_batch = True

    def forward(self, source, target, step):
        return gap(source.layers["hidden1"], target.layers["hidden1"])


class PooledLayer(AlignmentLoss):
    """Aligns a layer whose size it asks the network for."""

    over_batch = True

    def __init__(self, config, model):
        super().__init__(config, model)
        self.projection = nn.Linear(model.layers["pooled"][0], 4)

    def forward(self, source, target, step):
        here, there = (self.projection(view.layers["pooled"]) for view in (source, target))
        return gap(here, there)


class Images(AlignmentLoss):
    """Lets the features tell how bright an image is."""

    def __init__(self, config, model):
        super().__init__(config, model)
        self.reader = nn.Linear(model.feature_dim, model.shape[0])

    def forward(self, source, target, step):
        def error(view):
            return (self.reader(view.features) - view.x.mean(dim=(2, 3))).square().mean()

        return error(source) + error(target)


class Vectors(AlignmentLoss):
    """Weighs the features of vectors, and nothing else."""

    over_batch = True

    def forward(self, source, target, step):
        def weighed(view):
            (rows, _), weights = view.x.shape, view.x[:, :1].sigmoid()
            return (weights * view.features).sum(dim=0) / rows

        return (weighed(source) - weighed(target)).square().mean()


class CarriesGradient(AlignmentLoss):
    """Keeps, between two steps, a tensor that has a gradient, for after the step."""

    over_batch = True

    def __init__(self, config, model):
        super().__init__(config, model)
        self.register_buffer("average", torch.zeros(model.feature_dim))

    def forward(self, source, target, step):
        self.latest = target.features.mean(dim=0)
        return gap(source.features, target.features + self.average)

    def after_step(self, backbone):
        self.average.lerp_(self.latest.detach(), 0.1)


class Centroids(AlignmentLoss):
    """Draws target features to the centres of the source, found before every epoch."""

    needs_classes = True

    def __init__(self, config, model):
        super().__init__(config, model)
        self.register_buffer("centres", torch.zeros(len(model.classes), model.feature_dim))

    def on_epoch_start(self, backbone, rows):
        features = torch.cat([backbone.layers_of(b.x, b.domain)["features"] for b in rows.source])
        labels = nn.functional.one_hot(torch.cat([b.y for b in rows.source]), len(self.centres)).to(features)
        self.centres.copy_(labels.mT @ features / labels.sum(dim=0).clamp_min(1)[:, None])

    def forward(self, source, target, step):
        return torch.cdist(target.features, self.centres).square().amin(dim=1).mean()


class SourceFree(AlignmentLoss):
    """Certain predictions of a network that has learned the source; none of its rows is looked at."""

    needs_classes = needs_init = True
    phases = (Phase("target", updates=("trunk",), supervised=False, passes=("target",)),)

    def forward(self, source, target, step):
        log_p = target.logits.log_softmax(dim=1)
        return -(log_p.exp() * log_p).sum(dim=1).mean()


class Planned(AlignmentLoss):
    """Wants batches in which every class has the same number of rows."""

    needs_classes = over_batch = True

    def plan(self, labels, steps, batch, generator):
        rows = [torch.nonzero(labels == k).flatten() for k in labels.unique()]
        chosen = [own[torch.randint(len(own), (steps, 2), generator=generator)] for own in rows]
        return torch.cat(chosen, dim=1), torch.randint(29, (steps, 6), generator=generator)

    def forward(self, source, target, step):
        return gap(source.features[:2] + source.features[2:4] + source.features[4:], 3 * target.features)


class WarmsUp(AlignmentLoss):
    """Sets in after some epochs."""

    over_batch = True

    def forward(self, source, target, step):
        return step.epoch.ge(5) * gap(source.features, target.features)


class Weighs(AlignmentLoss):
    """Weighs the source's rows by how much they look like the target's, and has no value of its own."""

    over_batch = True

    def supervision(self, losses, source, target, step):
        near = torch.cdist(source.features, target.features).amin(dim=1).detach()
        return (losses * (-near).softmax(dim=0)).sum()

    def forward(self, source, target, step):
        return source.features.new_zeros(())


class Averages(Regularizer):
    """Predicts with an average of past weights, and has a value of 0 that has a gradient."""

    def setup(self, backbone):
        self.average = copy.deepcopy(backbone).requires_grad_(False)

    def forward(self, source, target, step):
        return source.features.mean() * 0

    def after_step(self, backbone):
        for mine, theirs in zip(self.average.parameters(), backbone.parameters(), strict=True):
            mine.lerp_(theirs, 0.2)

    def predictor(self, backbone):
        return self.average


class Probe(AlignmentLoss):
    """Learns how well the domains can be told apart, to log it; the network does not hear of it."""

    pulls = False

    def __init__(self, config, model):
        super().__init__(config, model)
        self.classifier = nn.Linear(model.feature_dim, 1)

    def forward(self, source, target, step):
        here, there = (self.classifier(view.features.detach()) for view in (source, target))
        loss = (nn.functional.softplus(-here).mean() + nn.functional.softplus(there).mean()) / 2
        return loss, {"told apart": (here > 0).float().mean() / 2 + (there < 0).float().mean() / 2}


class Mixes(AlignmentLoss):
    """Lets the network be linear between two target rows of a batch."""

    needs_classes = True

    def forward(self, source, target, step):
        other = torch.randperm(len(target.x), device=target.x.device)
        share = torch.rand(len(target.x), *[1] * (target.x.ndim - 1), device=target.x.device)
        _, logits = step.network(share * target.x + (1 - share) * target.x[other], target.domain)
        share = share.flatten(1)
        goal = share * target.logits.softmax(dim=1) + (1 - share) * target.logits.softmax(dim=1)[other]
        return (logits.softmax(dim=1) - goal.detach()).square().mean()
