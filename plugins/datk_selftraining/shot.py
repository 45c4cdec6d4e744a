"""Source-free adaptation: the features of the target move to a classifier that stays as it is."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from datk.interfaces import (
    AlignmentLoss,
    Backbone,
    EpochRows,
    ModelInfo,
    Phase,
    SourceView,
    Step,
    TargetView,
    TermConfig,
)
from datk_selftraining.consistency import entropy_of_rows


def diversity(logits: Tensor) -> Tensor:
    """Entropy, in nats, of the mean prediction of logits [B, K]; 0-d, from 0 to ln K (Liang et al. 2020,
    equation 3)."""
    mean = logits.softmax(dim=1).mean(dim=0)
    return -(mean * mean.clamp_min(torch.finfo(mean.dtype).tiny).log()).sum()


def centroid_labels(features: Tensor, logits: Tensor, rounds: int = 2) -> Tensor:
    """Classes [N] of features [N, D] by the nearest centroid in angle (Liang et al. 2020, equations 4 to 6).

    Features get a 1 appended and are scaled to length 1. The first centroids weigh them by the predictions of
    logits [N, K], those of each further round by the classes of the round before. A class that no row is
    predicted as, or none was given in the round before, has no centroid and gets no row.
    """
    points = normalize(torch.cat([features, features.new_ones(len(features), 1)], dim=1))
    numbers = torch.arange(logits.shape[1], device=logits.device)
    weights, classes = logits.softmax(dim=1), logits.argmax(dim=1)
    members = classes[:, None] == numbers
    for _ in range(rounds):
        centroids = normalize(weights.mT @ points)  # of sums as of means: only the angle counts
        nearness = (points @ centroids.mT).masked_fill(~members.any(dim=0), -torch.inf)
        classes = nearness.argmax(dim=1)
        members = classes[:, None] == numbers
        weights = members.to(points.dtype)
    return classes


class SHOT(AlignmentLoss):
    """SHOT, source-free adaptation: the trunk learns the target from the classifier of another run.

    Starts from a run on the source (`--init RUN`) and looks at no source image again: the head stays as it
    is, and the trunk is trained so that predictions on the target are certain and diverse (information
    maximisation), and agree with pseudo-labels from the nearest of the classes' centroids, found anew before
    every epoch. An epoch goes once over the target. Source rows are used for nothing but scores and, by the
    default selector, for the choice of the epoch; `--set train.select=last` keeps to the paper. Label
    smoothing and a head with weight normalisation, which the authors train their source model with, are not
    part of it here. With labels in the target whose shares are far from equal, diversity pulls the wrong
    way: lower `diversity`.

    Reference: Liang et al. 2020, "Do We Really Need to Access the Source Data?", ICML.
    """

    needs_classes = True
    needs_init = True
    over_batch = True
    phases = (Phase("target", updates=("trunk",), supervised=False, passes=("target",)),)

    class Config(TermConfig):
        """Options of SHOT."""

        diversity: float = Field(1.0, ge=0)
        """Factor of the diversity in the information that is maximised."""

        pseudo_labels: float = Field(0.3, ge=0)
        """Factor of the cross-entropy to the pseudo-labels."""

    labels: Tensor

    def __init__(self, config: Config, model: ModelInfo) -> None:
        super().__init__(config, model)
        # Found anew before every epoch, so that nothing is lost by not saving them; and a model that is saved
        # must not depend on how many rows it was trained on.
        unknown = torch.zeros(model.target_size, dtype=torch.int64)
        self.register_buffer("labels", unknown, persistent=False)

    def on_epoch_start(self, backbone: Backbone, rows: EpochRows) -> None:
        """Find the pseudo-labels of all training rows of the target."""
        layers = [backbone.layers_of(batch.x, batch.domain)["features"] for batch in rows.target]
        features = torch.cat(layers)
        self.labels.copy_(centroid_labels(features, backbone.head(features)))

    def forward(self, source: SourceView, target: TargetView, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """Information maximisation and the cross-entropy to the pseudo-labels; logs how many of those agree
        with the predictions."""
        labels = self.labels[target.index]
        certain, diverse = entropy_of_rows(target.logits).mean(), diversity(target.logits)
        learned = cross_entropy(target.logits, labels)
        value = certain - self.config.diversity * diverse + self.config.pseudo_labels * learned
        agreement = (target.logits.argmax(dim=1) == labels).float().mean()
        return value, {"entropy": certain, "diversity": diverse, "agreement": agreement}
