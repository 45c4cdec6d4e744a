"""Mean teacher: an average of the network's past weights teaches it on the target."""

import copy

import torch
from pydantic import Field
from torch import Tensor

from datk.interfaces import AlignmentLoss, Backbone, ModelInfo, SourceView, Step, TargetView, TermConfig
from datk.nn import strong_view


class MeanTeacher(AlignmentLoss):
    """Mean teacher: predictions on changed target rows follow those of an average of the network's weights.

    The teacher starts as a copy of the network and follows it after every step, w <- d w + (1 - d) w', with
    the decay d = min(`decay`, 1 - 1 / (1 + steps)), so that it learns as fast as the network in the
    beginning; running statistics are the network's own. It sees target rows as they are, the network sees
    strong views of them; their probabilities are compared by the mean square, where the teacher is
    confident, as in French et al. The teacher is what is evaluated. `ramp = "dann"` lets the consistency
    grow, in place of the threshold, as in Tarvainen & Valpola. Class balancing, which French et al. add for
    some data, is not part of it.

    Reference: Tarvainen & Valpola 2017, NeurIPS; French, Mackiewicz & Fisher 2018, "Self-ensembling for
    Visual Domain Adaptation", ICLR.
    """

    needs_classes = True

    class Config(TermConfig):
        """Options of the mean teacher."""

        weight: float = Field(3.0, ge=0)
        """Factor of the consistency in the total loss, as in French et al."""

        decay: float = Field(0.99, ge=0, lt=1)
        """Share of the teacher's weights that a step leaves as it is."""

        threshold: float = Field(0.968, ge=0, le=1)
        """Least probability of a teacher's prediction that is learned from; 0 takes all."""

        strength: float = Field(1.0, ge=0, le=2)
        """How strong the views are that the network sees."""

        symmetries: bool = False
        """Whether these views are also flipped and turned by quarters, for data to which that does
        nothing."""

    teacher: Backbone
    steps: Tensor

    def __init__(self, config: Config, model: ModelInfo) -> None:
        super().__init__(config, model)
        self.register_buffer("steps", torch.zeros(()))

    def setup(self, backbone: Backbone) -> None:
        """Copy the teacher."""
        self.teacher = copy.deepcopy(backbone).eval().requires_grad_(False)

    def forward(self, source: SourceView, target: TargetView, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared difference of the probabilities; logs the share of rows that are learned from."""
        assert step.network is not None
        with torch.no_grad():
            goal = self.teacher(target.x, target.domain).float().softmax(dim=1)
        strong = strong_view(target.x, self.config.strength, self.config.symmetries)
        _, logits = step.network(strong, target.domain)
        confident = (goal.amax(dim=1) >= self.config.threshold).float()
        gaps = (logits.softmax(dim=1) - goal).square().mean(dim=1)
        return (confident * gaps).mean(), {"confident": confident.mean()}

    def after_step(self, backbone: Backbone) -> None:
        """Let the teacher follow."""
        self.steps += 1
        follows = (1 / (1 + self.steps)).clamp_min(1 - self.config.decay)
        for mine, theirs in zip(self.teacher.parameters(), backbone.parameters(), strict=True):
            mine.lerp_(theirs, follows)
        for kept, current in zip(self.teacher.buffers(), backbone.buffers(), strict=True):
            kept.copy_(current)

    def predictor(self, backbone: Backbone) -> Backbone:
        """The teacher."""
        return self.teacher
