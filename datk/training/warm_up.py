"""A look at a run after its warm-up: what the network says of the target before alignment shaped it, and how hard
each term pulls."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from datk.data.dataset import TrainingData
from datk.interfaces import SourceBatch, TargetBatch
from datk.nn import WARM_UP
from datk.training.label_shift import information, predicted_shares, temperature
from datk.training.objective import Objective, snapshot
from datk.training.predict import predict


class Look(NamedTuple):
    """What was seen."""

    shares: list[float]
    """Shares of the classes that are predicted for the target's training rows, calibrated on the source's
    validation rows."""
    information: float
    """Of those predictions, see `datk.training.label_shift.information`."""
    pulls: dict[str, float]
    """Of each term at its full weight: the norm of its gradient over that of the supervised loss, for the
    parameters that the first phase trains."""


def epoch_of_look(epochs: int) -> int:
    """The epoch (from 0) before which it is taken: the first one after the warm-up, but there is one."""
    return min(math.ceil(WARM_UP * epochs), epochs - 1)


def look(objective: Objective, data: TrainingData, source: SourceBatch, target: TargetBatch) -> Look:
    """Take the look, which leaves no trace in the run.

    Args:
        source: the first batch of the epoch, with that of the target.
    """
    predictor = objective.predictor()
    rows = data.source.split.validation
    of_source = torch.from_numpy(predict(predictor, data.source, rows))
    of_target = torch.from_numpy(predict(predictor, data.target, data.target.split.train))
    certain = temperature(of_source, data.validation_labels)
    return Look(
        predicted_shares(of_target, certain).tolist(),
        information(of_target),
        _pulls(objective, source, target),
    )


def _pulls(objective: Objective, source: SourceBatch, target: TargetBatch) -> dict[str, float]:
    phase = objective.phases[0]
    device = next(objective.parameters()).device
    put_back = snapshot(objective.buffers(), device)
    full = torch.ones((), device=device)
    terms, _ = objective(source, target, full, full, phase)
    trained = [p for p in objective.backbone.parameters() if p.requires_grad]

    def norm(value: Tensor) -> float:
        if not value.requires_grad:
            return 0.0
        grads: Any = torch.autograd.grad(value, trained, retain_graph=True, allow_unused=True)
        return math.sqrt(sum(float(grad.square().sum()) for grad in grads if grad is not None))

    supervised = norm(terms[objective.task_label]) if objective.task_label in terms else 0.0
    pulls = {
        label: norm(value) / supervised
        for label, value in terms.items()
        if label != objective.task_label and supervised > 0
    }
    put_back()
    return pulls
