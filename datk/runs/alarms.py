"""Alarms: label-free signs that a number misleads or that adaptation does harm, each with the next step."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from datk.data.dataset import TrainingData
from datk.runs.outputs import Parts
from datk.training.label_shift import distance, information, shares
from datk.training.warm_up import Look

FEW_ROWS, SMALL_BATCH = 30, 16
SHIFTED = 0.2
"""Total variation between the classes' shares in the source and those predicted for the target."""
COLLAPSED = 0.9
"""Part of the information that predictions had before alignment which they must keep."""
IDLE = 1e-3
"""Gradient of a term beside that of the supervised loss below which it does nothing."""
FAR, SPREAD, MANY = 3.0, 3.0, 0.2
"""Source deviations between the means of a channel, ratio of its deviations, and share of the channels."""
MOST_SHOWN = 5


class Alarm(BaseModel):
    """One sign."""

    model_config = ConfigDict(frozen=True)

    code: str
    """What kind it is, to be searched for."""
    message: str
    """The evidence, and the next step."""


def alarms(
    parts: Parts, data: TrainingData, classes: Sequence[str], look: Look | None, by: str, adapts: bool
) -> list[Alarm]:
    """All alarms of a run.

    Args:
        parts: what the selected network says.
        classes: their names; none where numbers are predicted.
        look: what it said after the warm-up.
        by: `data.standardize`.
        adapts: whether a term of the loss looks at the target.
    """
    found = [*_few_rows(parts), *_small_batch(data), *_far(data, by)]
    if classes and look is not None:
        found += _label_shift(data, classes, look, adapts)
        found += _idle(look)
        if adapts:
            found += _collapse(parts, classes, look)
    return found


def _few_rows(parts: Parts) -> list[Alarm]:
    few = {
        f"{domain} {part}": len(rows)
        for (domain, part), (rows, *_) in parts.items()
        if (domain, part) != ("target", "train") and len(rows) < FEW_ROWS
    }
    if not few:
        return []
    named = ", ".join(f"{name} {rows}" for name, rows in few.items())
    least = min(few.values())
    error = 0.5 / np.sqrt(max(least, 1))
    return [
        Alarm(
            code="few-rows",
            message=f"rows to score or choose by: {named}; an accuracy over {least} rows is known to within "
            f"{min(2 * error, 1):.2f}; give more data, or larger data.fractions",
        )
    ]


def _small_batch(data: TrainingData) -> list[Alarm]:
    least = min(data.source_batch, data.target_batch)
    if least >= SMALL_BATCH:
        return []
    return [
        Alarm(
            code="small-batch",
            message=f"batches have {data.source_batch} source and {data.target_batch} target rows; domains "
            f"cannot be compared by fewer than {SMALL_BATCH}: raise train.batch_size, or give more data",
        )
    ]


def _far(data: TrainingData, by: str) -> list[Alarm]:
    if by != "source" or data.source.own.by_domain:
        return []
    mean, std, *_ = data.source.own.constants()
    of_target, spread, *_ = data.target.own.constants()
    varies = data.source.own.varies.numpy().reshape(-1) & data.target.own.varies.numpy().reshape(-1)
    if not varies.any():
        return []
    gap = np.abs(of_target - mean)[varies] / std[varies]
    ratio = np.maximum(spread[varies] / std[varies], std[varies] / spread[varies])
    share = float(((gap > FAR) | (ratio > SPREAD)).mean())
    if share < MANY:
        return []
    what = "channels" if len(data.source.rows.samples.x.shape) == 4 else "features"
    return [
        Alarm(
            code="far-target",
            message=f"{share:.0%} of the {what} have a mean more than {FAR:.0f} source deviations away, or "
            f"another spread by a factor of {SPREAD:.0f}, in the target; look at units and preparation, and "
            "try data.standardize=per-domain",
        )
    ]


def _label_shift(data: TrainingData, classes: Sequence[str], look: Look, adapts: bool) -> list[Alarm]:
    of_source = shares(data.labels, len(classes))
    of_target = torch.tensor(look.shares, dtype=torch.float64)
    gap = distance(of_source, of_target)
    if gap < SHIFTED:
        return []
    order = (of_target - of_source).abs().argsort(descending=True)[:MOST_SHOWN].tolist()
    shown = ", ".join(f"{classes[k]} {of_source[k]:.0%} -> {of_target[k]:.0%}" for k in order)
    step = (
        "compare with --align none, or set train.label_shift=estimate"
        if adapts
        else ("methods that align the domains may do harm")
    )
    return [
        Alarm(
            code="label-shift",
            message=f"classes seem to have other shares in the target, by {gap:.2f} (source labels -> target "
            f"predictions: {shown}); {step}",
        )
    ]


def _idle(look: Look) -> list[Alarm]:
    idle: Mapping[str, float] = {label: pull for label, pull in look.pulls.items() if 0 < pull < IDLE}
    return [
        Alarm(
            code="idle-term",
            message=f"{label} does next to nothing: its gradient is {pull:.1e} of that of the supervised "
            "loss; raise its weight",
        )
        for label, pull in idle.items()
    ]


def _collapse(parts: Parts, classes: Sequence[str], look: Look) -> list[Alarm]:
    logits = torch.from_numpy(parts["target", "train"].logits)
    now = information(logits)
    predicted = int((torch.bincount(logits.argmax(dim=1), minlength=len(classes)) > 0).sum())
    if now >= COLLAPSED * look.information and predicted >= len(classes) / 2:
        return []
    return [
        Alarm(
            code="collapse",
            message=f"predictions for the target tell less than before alignment ({now:.2f} against "
            f"{look.information:.2f} nats; {predicted} of {len(classes)} classes are predicted); lower the "
            "weight of the alignment, or use --align none",
        )
    ]
