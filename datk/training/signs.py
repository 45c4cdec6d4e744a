"""What is seen of a run while it goes on: what the network says of the target after the warm-up, before
alignment shaped it, and how hard each term pulls. Training goes on as if nobody looked."""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from datk.data.dataset import TrainingData
from datk.nn import WARM_UP
from datk.training.label_shift import drawn_to, information, predicted_shares, ratios, shares, temperature
from datk.training.objective import Objective
from datk.training.predict import predict

SCALE = 2.0**12
"""Factor of all gradients that are compared, so that float16 does not lose small ones."""


class Look(NamedTuple):
    """What the network said of the target's training rows."""

    shares: list[float]
    """Shares of the classes that are predicted for them, calibrated on the source's validation rows."""
    information: float
    """Of those predictions, see `datk.training.label_shift.information`."""


class Signs:
    """What was seen so far. All of it but the model is the state, so that a resumed run has seen the same."""

    def __init__(self, objective: Objective, data: TrainingData) -> None:
        self.objective, self.data = objective, data
        self.look: Look | None = None
        """Taken before the first epoch after the warm-up. None until then, if no classes are predicted, and
        in a run that does not read the target."""
        self.norms: dict[str, float] = {}
        """Largest norm so far of the gradient of each term, with its weight, for the backbone's parameters;
        that of the supervised loss by the label of the task."""
        self.losses: list[float] = []
        """On the source's validation rows after each epoch; of a run that a version without it began those
        since it was resumed."""
        self.parameters = [p for p in objective.backbone.parameters() if p.requires_grad]

    def before_epoch(self, epoch: int, epochs: int) -> bool:
        """Look at the target if it is time to; whether it was. Weighs source rows by what is seen, where
        `train.label_shift` wants that."""
        looks = self.objective.says_classes and "target" in self.objective.passes
        if not looks or self.look is not None or epoch < look_epoch(epochs):
            return False
        predictor, data = self.objective.predictor(), self.data
        self.look = self.look_at(
            torch.from_numpy(predict(predictor, data.source, data.source.split.validation)),
            torch.from_numpy(predict(predictor, data.target, data.target.split.train)),
        )
        self.weigh()
        return True

    def look_at(self, of_source: Tensor, of_target: Tensor) -> Look:
        """What is to be seen in logits [N, K] of the source's validation rows and [M, K] of the target's
        training rows."""
        classes = of_target.shape[1]
        in_source = shares(self.data.labels, classes)
        # A network that was trained as if classes were equally frequent says so; that is taken back.
        equal = self.data.balance is not None or self.objective.class_weights is not None
        prior = in_source.clamp_min(1e-12).log() * equal
        certain = temperature(of_source, self.data.validation_labels, prior)
        predicted = predicted_shares(of_target, certain, prior)
        return Look(drawn_to(in_source, predicted, len(of_target)).tolist(), information(of_target))

    def weigh(self) -> None:
        """Have source rows weighed by the shares that were seen, if they are to be and if some were seen."""
        class_ratios = self.objective.class_ratios
        if class_ratios is not None and self.look is not None:
            in_source = shares(self.data.labels, len(class_ratios))
            class_ratios.copy_(ratios(torch.tensor(self.look.shares, dtype=torch.float64), in_source))

    def measures(self, epoch: int, epochs: int) -> bool:
        """Whether the last step of an epoch is to be shown to `measure`: in three epochs, the first one after
        the warm-up, one halfway from there, and the last, as it takes a backward pass for each term."""
        first, last = look_epoch(epochs), epochs - 1
        return epoch in (first, (first + last) // 2, last)

    def measure(self, terms: Mapping[str, Tensor], trained: Sequence[nn.Parameter]) -> None:
        """See how hard each term of a phase pulls on the backbone, before its backward pass. A term without a
        gradient is left out, and one whose gradient is not finite."""
        for label, value in terms.items():
            norm = _norm(value, self.parameters)
            if norm is not None and math.isfinite(norm):
                self.norms[label] = max(norm, self.norms.get(label, 0.0))

    @property
    def pulls(self) -> dict[str, float]:
        """The largest gradient of each term over the largest of the supervised loss; without the terms that
        have none."""
        supervised = self.norms.get(self.objective.task_label, 0.0)
        return {
            label: norm / supervised
            for label, norm in self.norms.items()
            if label != self.objective.task_label and supervised > 0
        }

    def state(self) -> dict[str, Any]:
        """What resuming needs."""
        look = None if self.look is None else self.look._asdict()
        return {"look": look, "norms": dict(self.norms), "losses": list(self.losses)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave; of a run that an earlier version began there is nothing."""
        self.look = Look(**state["look"]) if state.get("look") else None
        self.norms = {label: float(norm) for label, norm in state.get("norms", {}).items()}
        self.losses = [float(loss) for loss in state.get("losses", [])]


def look_epoch(epochs: int) -> int:
    """The epoch (from 0) before which the look is taken: the first one after the warm-up, if there is one."""
    return min(math.ceil(WARM_UP * epochs), epochs - 1)


def late_fall(losses: Sequence[float], rates: Sequence[float], late: float = 0.1) -> float:
    """Which part of the fall of the least loss so far came late, while the last tenth of all that the
    learning rate sums to was spent; the last epoch at least. Under a schedule that ends near 0, as most do,
    little happens in the last epochs in any case.

    It is 0 where nothing fell, as for a single epoch.

    Args:
        losses: after each epoch.
        rates: learning rate of each.
        late: which part of the sum counts as late.
    """
    least = list(accumulate(losses, min))
    if len(least) < 2 or least[-1] >= least[0]:
        return 0.0
    whole = sum(rates)
    lefts = [whole - spent for spent in accumulate(rates)]
    early = sum(left > late * whole * (1 + 1e-9) for left in lefts)  # all but the one that reaches the tenth
    return (least[min(early, len(least) - 2)] - least[-1]) / (least[0] - least[-1])


def _norm(value: Tensor, parameters: Sequence[nn.Parameter]) -> float | None:
    if not value.requires_grad:
        return None
    grads: Any = torch.autograd.grad(SCALE * value, parameters, retain_graph=True, allow_unused=True)
    found = [grad.square().sum() for grad in grads if grad is not None]
    return float(torch.stack(found).sum().sqrt()) / SCALE if found else None
