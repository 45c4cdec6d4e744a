"""Terms of the loss: alignments and regularizers."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from datk.base.options import ComponentConfig
from datk.interfaces.batches import EpochRows, Phase, SourceView, Step, TargetView
from datk.interfaces.models import Backbone, ModelInfo, ParamGroup

Ramp = Literal["constant", "linear", "dann", "warm-up"]
"""How a weight grows over training, see `datk.nn.ramp`."""


class TermConfig(ComponentConfig):
    """Options that the core gives every alignment and regularizer."""

    weight: float = Field(1.0, ge=0)
    """Factor with which this term acts on the backbone; what the term itself owns, such as a domain
    classifier, always follows the whole term."""

    ramp: Ramp = "constant"
    """How the weight grows over training: at once, linearly from 0, as 2 / (1 + exp(-10 p)) - 1 with the
    progress p from 0 to 1 (Ganin et al. 2016), or so after a fifth of the training without it (warm-up)."""


class LossTerm(nn.Module, ABC):
    """A term of the loss. It may own parameters (centres, a domain classifier), buffers and networks: all are
    moved to the device, optimised, saved, and restored on resume. What it owns keeps the mode, training or
    evaluation, that its author gave it.

    Nothing in `forward` may leave the device: no `.item()`, no `if tensor`. Constants are buffers.

    Of all terms of a run at most one may override each of `supervision`, `predictor` and `plan`.
    """

    Config: ClassVar[type[TermConfig]] = TermConfig
    needs_target: ClassVar[bool] = True
    """Whether `forward` looks at the target. A run none of whose terms does never shows it to the network,
    so that batch normalisation of a source-only baseline knows the source only."""
    needs_classes: ClassVar[bool] = False
    """Whether it takes logits for scores of classes, or labels for their numbers; it is then refused where
    numbers are predicted."""
    needs_init: ClassVar[bool] = False
    """Whether it starts from a trained model (`--init`), as source-free methods do."""
    over_batch: bool = False
    """Whether the value is something else than a mean over rows, so that the mean of the values of two halves
    of a batch is not that of the whole (distances between distributions, sums). Where several processes train
    together such a term sees the rows of all of them, others those of their own. An instance may set it."""

    def __init__(self, config: Any, model: ModelInfo) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def forward(
        self, source: SourceView, target: TargetView, step: Step
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """The term's value, a 0-d tensor, before weight and ramp; with it, if wanted, what else is to be
        logged, 0-d tensors by name."""

    def param_groups(self) -> list[ParamGroup]:
        """The term's own parameters; one group with the common settings by default."""
        params = [p for p in self.parameters() if p.requires_grad]
        return [ParamGroup(params)] if params else []

    def setup(self, backbone: Backbone) -> None:
        """Called once, when the backbone has its first weights and before there is an optimiser, for
        instance to copy a teacher or to make a second head: what is made here is trained and saved like
        everything else. It is called on resume too; what it makes is then given the values of the
        checkpoint."""

    def on_epoch_start(self, backbone: Backbone, rows: EpochRows) -> None:
        """Called before each epoch, without gradient and with the backbone in evaluation mode, for instance
        to find centres or pseudo-labels; `rows` are the training rows of both domains in order."""

    def after_step(self, backbone: Backbone) -> None:
        """Called after each step of the optimiser, for instance to move an average."""

    # --- of all terms of a run at most one may override each of these

    def supervision(self, losses: Tensor, source: SourceView, target: TargetView, step: Step) -> Tensor:
        """The supervised part of the loss, 0-d, of the loss of each source row [B]: their mean, unless a
        method weighs rows or learns a weight for the whole."""
        return losses.mean()

    def predictor(self, backbone: Backbone) -> nn.Module:
        """What is evaluated, selected and exported: the backbone, unless a method predicts with a teacher or
        with several heads. A `Backbone`, or a module whose `forward(x)` gives logits [B, K]."""
        return backbone

    def plan(
        self, labels: Tensor, steps: int, batch: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor] | None:
        """Which rows the batches of an epoch hold, as `index` [steps, B] of the source and of the target;
        None leaves them to chance.

        Args:
            labels: of the source's training rows [N] by their index, on the CPU.
            steps: batches in the epoch.
            batch: rows of a domain in a batch, at most.
            generator: what to draw from; on the CPU.
        """
        return None


class AlignmentLoss(LossTerm):
    """A term that draws the two domains together."""

    alone: ClassVar[bool] = False
    """Whether no other alignment may stand beside it in a run."""

    phases: tuple[Phase, ...] = (Phase(),)
    """Optimisation problems of one step, in order; an instance may set them. Of several alignments at most
    one may change this."""


class Regularizer(LossTerm):
    """A term that shapes the features or the predictions."""
