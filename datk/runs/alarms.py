"""Alarms: label-free signs that a number misleads or that adaptation does harm, each with the next step."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from datk.data.dataset import TrainingData
from datk.interfaces import AlignmentLoss, LossTerm
from datk.runs.outputs import PartOutputs
from datk.training.label_shift import chance_distance, distance, information, shares
from datk.training.report import Reporters
from datk.training.signs import Look

FEW_ROWS, SMALL_BATCH = 30, 16
SHIFTED = 0.2
"""Total variation between the classes' shares in the source and those predicted for the target, if it is more
than twice that of so many rows by chance."""
COLLAPSED = 0.9
"""Part of the information that predictions had after the warm-up which they must keep."""
IDLE, FELT = 1e-3, 0.1
"""Gradient of a term beside that of the supervised loss: below the first it does nothing, with the second it
would be felt."""
FALLING = 0.01
"""Part of the fall of the validation loss that may come late."""
FAR, SPREAD, MANY = 3.0, 3.0, 0.2
"""Source deviations between the means of a channel, ratio of its deviations, and share of the channels."""
MOST_SHOWN = 5


class Alarm(BaseModel):
    """A sign that a number misleads or that adaptation does harm."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    code: str = Field(pattern="^[a-z]+(-[a-z]+)*$")
    """What kind it is; docs/alarms.md has a paragraph on each."""
    message: str
    """The evidence, and the next step."""


class Alarms:
    """The alarms of a run, which are told as they are raised."""

    def __init__(self, report: Reporters) -> None:
        self.report = report
        self.raised: list[Alarm] = []

    def add(self, alarms: Sequence[Alarm]) -> None:
        """Raise those that were not raised before."""
        for alarm in alarms:
            if alarm not in self.raised:
                self.raised.append(alarm)
                self.report.tell("alarm", alarm.code, alarm.message)


# --- before training -----------------------------------------------------------------------------------


def few_rows(rows: Mapping[str, int], classes: bool = True) -> list[Alarm]:
    """Parts with too few rows.

    Args:
        rows: of each part by its name, for instance `target test`.
        classes: whether classes are predicted, so that an accuracy is what is computed over them.
    """
    few = {name: number for name, number in rows.items() if number < FEW_ROWS}
    if not few:
        return []
    named = ", ".join(f"{name} {number}" for name, number in few.items())
    least = min(few.values())
    known = "a score over so few is chance to a large part"
    if classes:
        error = min(1.0, 1 / np.sqrt(max(1, least)))
        known = f"an accuracy over {least} of them is known to within {error:.2f} (95 %)"
    return [
        Alarm(
            code="few-rows",
            message=f"few rows to choose an epoch or to score by: {named}; {known}; give more data or larger "
            "data.fractions, or score all rows of the target by data.target_rows=all",
        )
    ]


def small_batch(source: int, target: int | None) -> list[Alarm]:
    """Batches with too few rows of the source, or of the target if it is looked at."""
    named = {"source": source} | ({} if target is None else {"target": target})
    few = {domain: rows for domain, rows in named.items() if rows < SMALL_BATCH}
    if not few:
        return []
    held = " and ".join(f"{rows} of the {domain}" for domain, rows in few.items())
    why = "of so few rows gradients and batch normalisation are mostly noise"
    if target is not None:
        why += ", and domains cannot be compared by them"
    return [
        Alarm(
            code="small-batch",
            message=f"rows in a batch: {held}; {why}; raise train.batch_size to {SMALL_BATCH} or more, or "
            "give more data",
        )
    ]


def far_target(data: TrainingData) -> list[Alarm]:
    """Many channels of the target that the source's constants do not standardise; where these are used."""
    used, own = data.source.standardize, data.target.own
    mean, std, *_ = used.constants()
    of_target, spread, *_ = own.constants()
    varies = used.varies.numpy().reshape(-1) & own.varies.numpy().reshape(-1) & np.isfinite(std)
    if not varies.any():
        return []
    away = np.abs(of_target - mean)[varies] / std[varies] > FAR
    ratio = spread[varies] / std[varies]
    wide = np.maximum(ratio, 1 / ratio) > SPREAD
    share = float((away | wide).mean())
    if share < MANY:
        return []
    what = "channels" if len(data.target.rows.samples.x.shape) == 4 else "features"
    return [
        Alarm(
            code="far-target",
            message=f"{share:.0%} of the {what} are elsewhere in the target: of {away.mean():.0%} the mean "
            f"is more than {FAR:.0f} of the source's deviations away, of {wide.mean():.0%} the deviation is "
            f"another by a factor of more than {SPREAD:.0f}; see that both domains have the same units, and "
            "compare with data.standardize=per-domain",
        )
    ]


# --- after the warm-up ---------------------------------------------------------------------------------


def label_shift(
    look: Look, data: TrainingData, classes: Sequence[str], adapts: bool, weighed: bool
) -> list[Alarm]:
    """Classes with other shares in the target, as far as predictions say.

    Args:
        look: what was predicted.
        adapts: whether a term of the loss looks at the target.
        weighed: whether source rows are weighed by what was predicted.
    """
    of_source = shares(data.labels, len(classes))
    of_target = torch.tensor(look.shares, dtype=torch.float64)
    gap = distance(of_source, of_target)
    if gap <= max(SHIFTED, 2 * chance_distance(of_source, data.source_size, data.target_size)):
        return []
    order = (of_target - of_source).abs().argsort(descending=True)[:MOST_SHOWN].tolist()
    shown = ", ".join(f"'{classes[k]}' {of_source[k]:.0%} -> {of_target[k]:.0%}" for k in order)
    more = f" and {len(classes) - MOST_SHOWN} more" if len(classes) > MOST_SHOWN else ""
    step = "a method that makes the domains alike may do harm here; give it train.label_shift=estimate"
    if adapts:
        step = (
            "source rows are weighed by it (train.label_shift=estimate)"
            if weighed
            else "what makes the domains alike moves classes onto each other; set train.label_shift=estimate"
        )
        step += ", and compare with --align none"
    return [
        Alarm(
            code="label-shift",
            message=f"classes seem to have other shares in the target (share among the source's labels -> "
            f"predicted for the target: {shown}{more}; total variation {gap:.2f}); {step}",
        )
    ]


# --- after training ------------------------------------------------------------------------------------


def idle_terms(pulls: Mapping[str, float], terms: Mapping[str, LossTerm]) -> list[Alarm]:
    """Terms that do next to nothing; one whose weight is 0 is not meant to do anything.

    Args:
        pulls: how hard each pulled, see `datk.training.signs.Signs`.
    """
    found = []
    for label, pull in pulls.items():
        weight = terms[label].config.weight
        if pull < IDLE and weight > 0:
            option = f"{'align' if isinstance(terms[label], AlignmentLoss) else 'reg'}.{label}.weight"
            step = "see whether it can do anything on these data"
            if pull > 0:
                step = f"{option}={_rounded_up(weight * FELT / pull)} would make it a tenth"
            found.append(
                Alarm(
                    code="idle-term",
                    message=f"{label} does next to nothing: its gradient never was more than {pull:.1e} of "
                    f"that of the supervised loss; {step} (it is {weight:g}), or leave the term out",
                )
            )
    return found


def last_epoch(late_fall: float, steps: int) -> list[Alarm]:
    """Training that ended while the validation loss still fell.

    Args:
        late_fall: which part of its fall came late, see `datk.training.signs.late_fall`.
        steps: that all epochs together had.
    """
    if late_fall <= FALLING:
        return []
    return [
        Alarm(
            code="last-epoch",
            message=f"training ended too early: {late_fall:.0%} of the whole fall of the source's validation "
            "loss came with the last tenth of the learning rate, so that the last epoch is the best; train "
            f"longer than these {steps} steps, for instance by --set train.steps={_rounded_up(3 * steps)}",
        )
    ]


def _rounded_up(value: float) -> str:
    """The next number with one digit and zeros."""
    power = 10.0 ** np.floor(np.log10(value))
    number = np.ceil(value / power) * power
    return f"{number:.0f}" if 1 <= number < 1e6 else f"{number:g}"


def collapse(
    of_target: PartOutputs, of_source: Sequence[int], look: Look | None, adapts: bool
) -> list[Alarm]:
    """Predictions for the target that tell little.

    Args:
        of_target: what the selected network says of its training rows.
        of_source: rows of each class in the source.
        look: what was said after the warm-up.
        adapts: whether a term of the loss looks at the target.
    """
    logits = torch.from_numpy(of_target.logits)
    predicted = int(logits.argmax(dim=1).bincount().count_nonzero())
    there = sum(rows > 0 for rows in of_source)
    signs = []
    if predicted < min(max(2.0, there / 2), len(logits)):
        are = "is" if predicted == 1 else "are"
        signs.append(f"{predicted} of the source's {there} classes {are} predicted")
    if adapts and look is not None and (now := information(logits)) < COLLAPSED * look.information:
        signs.append(
            f"predictions tell less of their rows than after the warm-up ({now:.2f} against "
            f"{look.information:.2f} nats)"
        )
    if not signs:
        return []
    step = "the domains may be too far apart; look at units and preparation"
    if adapts:
        step = "lower the weight of the terms that look at the target, and compare with --align none"
    return [Alarm(code="collapse", message=f"for the target, {' and '.join(signs)}; {step}")]
