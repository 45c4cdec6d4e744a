"""Checks of selectors and of tasks."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datk.base.rng import torch_generator
from datk.interfaces import DataError, Metric, Outputs, PairInfo, Selector, Task
from datk.runs.oracle import Oracle
from datk.testing.terms import Check
from datk.testing.toys import CLASSES, VECTORS, Labels, MeanGap, ThreeClasses
from datk.testing.trial import Setting, Trial, component, installed, network
from datk.testing.watch import FaultError

STEPS = 300
"""Of an optimiser that looks for the best outputs."""


def check_selector(cls: type[Selector], config: Any) -> Iterator[Check]:
    """Score a good and a bad predictor, and let it choose the epoch of a run; for classes and for numbers."""
    yield from _scores(cls, config, "classes")
    if not cls.needs_classes:
        yield from _scores(cls, config, "numbers")


def _scores(cls: type[Selector], config: Any, labels: Labels) -> Iterator[Check]:
    of = f"({labels})"
    task = _fitted(ThreeClasses(VECTORS, labels), labels)
    selector = cls(config, task)
    good, bad = _predictors(labels, good=True), _predictors(labels, good=False)
    if isinstance(selector, Oracle):
        selector.answers = _labels(labels, 15)
    if not cls.needs_target:  # it is given none, then
        good, bad = ((source, _nothing(target)) for source, target in (good, bad))
    before = [part.clone() for outputs in good for part in outputs if part is not None]
    try:
        scores = [float(selector.score(*predictor)) for predictor in (good, good, bad)]
    except Exception as error:
        hint = "" if cls.needs_target else "; does it look at the target? then say needs_target = True"
        hint += "; if it needs classes, say needs_classes = True" if labels == "numbers" else ""
        yield f"scores a predictor {of}", f"{type(error).__name__}: {error}{hint}"
        return
    told = (
        None if not any(map(math.isnan, scores)) else f"its score is {scores[0]}, and {scores[2]} of another"
    )
    yield f"scores a predictor {of}", told
    yield (
        f"gives the same score again {of}",
        None if scores[0] == scores[1] else f"{scores[0]}, then {scores[1]}",
    )
    after = [part for outputs in good for part in outputs if part is not None]
    kept = all(map(torch.equal, before, after))
    yield f"leaves the outputs as they are {of}", None if kept else "it changes them in place"
    fault = (
        f"a good predictor has {scores[0]:.4g} and a bad one {scores[2]:.4g}, but the largest score is kept"
    )
    yield f"more is better {of}", fault if scores[0] < scores[2] else None
    wrong = None
    try:
        Trial(
            Setting(
                network(),
                (component("alignment", MeanGap),),
                labels=labels,
                shape=VECTORS,
                select=component("selector", cls, config),
            )
        ).fit()
    except FaultError as error:
        wrong = str(error)
    yield f"chooses the epoch of a run {of}", wrong


def _fitted(pair: ThreeClasses, labels: Labels) -> Task:
    name = {"classes": "datk:classification", "numbers": "datk:regression"}[labels]
    chosen = installed("task", name)
    task: Task = chosen.cls(chosen.config)
    task.outputs(_info(pair))
    task.fit(pair.source_labels)
    return task


def _info(pair: ThreeClasses) -> PairInfo:
    return PairInfo(VECTORS, pair.classes, pair.targets)


def _labels(labels: Labels, rows: int) -> Tensor:
    """Encoded labels of some rows."""
    classes = torch.arange(rows) % len(CLASSES)
    return classes if labels == "classes" else torch.stack([classes - 1.0, (classes - 1.0).square()], dim=1)


def _predictors(labels: Labels, good: bool) -> tuple[Outputs, Outputs]:
    """Outputs on source and target of a predictor that is right and sure in both, with features to match, or
    of one that is wrong in the source and knows nothing of the target."""
    draw = torch_generator(0, "predictors")

    def outputs(rows: int, source: bool) -> Outputs:
        truth = _labels(labels, rows)
        scores = nn.functional.one_hot(truth, len(CLASSES)).float() if labels == "classes" else truth
        noise = torch.randn(scores.shape, generator=draw)
        ideas = torch.randn(rows, 8, generator=draw)
        clusters = torch.randn(scores.shape[1], 8, generator=draw)
        if good:
            logits, features = 6 * scores if labels == "classes" else scores, scores @ clusters
            return Outputs(features + 0.05 * ideas, logits + 0.05 * noise, truth if source else None)
        wrong = -6 * scores if source else torch.zeros_like(scores)
        return Outputs(ideas, wrong + 0.05 * noise, truth if source else None)

    return outputs(12, source=True), outputs(15, source=False)


def _nothing(outputs: Outputs) -> Outputs:
    return Outputs(outputs.features[:0], outputs.logits[:0], None)


# --- tasks ---------------------------------------------------------------------------------------------


def check_task(cls: type[Task], config: Any) -> Iterator[Check]:
    """Look at size, loss and metrics, look for the best outputs, and train a network with it."""
    task, pair, refused = cls(config), None, ""
    for labels in ("classes", "numbers"):
        try:
            pair = ThreeClasses(VECTORS, "classes" if labels == "classes" else "numbers")
            size = task.outputs(_info(pair))
            task.check(pair.source_labels, _info(pair))
            break
        except DataError as error:
            refused = refused or str(error)
    else:
        yield "takes classes or numbers as labels", refused
        return
    positive = isinstance(size, int) and size > 0
    yield "says how many outputs there are", None if positive else f"it says {size!r}"
    metrics = getattr(cls, "metrics", {})
    named = bool(metrics) and all(isinstance(metric, Metric) for metric in metrics.values())
    yield (
        "names its metrics",
        None if named else "metrics must be a table of Metric by name, with one at least",
    )
    if not (positive and named):
        return
    task.fit(pair.source_labels)
    raw = torch.from_numpy(np.array(pair.source_labels))
    encoded = task.encode(raw.clone())
    rows = torch.arange(len(raw) - 1, 0, -2)
    row_wise = len(encoded) == len(raw) and torch.equal(encoded[rows], task.encode(raw[rows]))
    yield "encodes labels row by row", None if row_wise else "encode must give each row's label for itself"
    if not row_wise:
        return
    outputs = torch.randn(len(raw), size, generator=torch_generator(0, "outputs"))
    fault = _loss_fault(task, outputs, encoded)
    yield "gives a loss [B], each row its own", fault
    if fault is None:
        yield from _metrics(task, outputs, encoded, raw)
        yield "its constants are part of its state", _forgotten(cls(config), task, pair, outputs)
    kind = "classes" if pair.classes else "numbers"
    setting = Setting(
        network(),
        (component("alignment", MeanGap),),
        labels="classes" if kind == "classes" else "numbers",
        shape=VECTORS,
        task=component("task", cls, config),
    )
    fault = None
    try:
        Trial(setting).fit()
    except FaultError as error:
        fault = str(error)
    yield "trains a network", fault


def _loss_fault(task: Task, outputs: Tensor, encoded: Tensor) -> str | None:
    outputs = outputs.clone().requires_grad_()
    losses = task.loss(outputs, encoded)
    if tuple(losses.shape) != (len(outputs),) or not losses.is_floating_point():
        return f"it gives {losses.dtype} of shape {list(losses.shape)} for {len(outputs)} rows"
    if not bool(losses.isfinite().all()):
        return "a loss is not finite"
    if not losses.requires_grad:
        return "it has no gradient"
    (gradient,) = torch.autograd.grad(losses[0], outputs)
    if not bool(gradient.isfinite().all()) or not bool(gradient[0].any()):
        return "the gradient of a row's loss is not finite, or 0"
    return "the loss of a row depends on other rows" if bool(gradient[1:].any()) else None


def _metrics(task: Task, outputs: Tensor, encoded: Tensor, raw: Tensor) -> Iterator[Check]:
    """Whether the outputs with the least loss have the best scores."""
    scores = task.score(outputs, raw)
    missing = {*task.metrics, "n"} - scores.keys()
    foreign = {name for name in scores if name.partition(" ")[0] not in {*task.metrics, "n"}}
    fault = f"there is no {', '.join(sorted(missing))}" if missing else None
    if foreign:
        fault = f"'{min(foreign)}' is not among its metrics"
    yield "scores by its metrics and n", fault
    if fault:
        return
    wrong = [
        name for name, value in scores.items() if value is not None and not isinstance(value, float | int)
    ]
    yield (
        "scores are plain numbers, or None",
        f"'{wrong[0]}' is a {type(scores[wrong[0]]).__name__}" if wrong else None,
    )
    counted = scores["n"] == len(raw)
    yield "counts the rows", None if counted else f"n is {scores['n']} of {len(raw)} rows"
    best = _best_outputs(task, outputs, encoded)
    better = task.score(best, raw)
    fault = _against_the_loss(task, best, {"before that": outputs} | _spoiled(best), encoded, raw)
    yield "less loss means better scores", fault
    first = next(iter(task.metrics))
    shown, scored = task.headline(best, encoded), better[first]
    agree = (shown is None and scored is None) or (
        shown is not None and scored is not None and math.isclose(shown, scored, rel_tol=1e-3, abs_tol=1e-6)
    )
    yield "its headline is the first metric", None if agree else f"it is {shown}, and {first} is {scored}"
    fault = None
    try:
        task.score(best[:1], raw[:1])
        task.headline(best[:1], encoded[:1])
    except Exception as error:
        fault = f"{type(error).__name__}: {error}"
    yield "scores a single row", fault


def _spoiled(best: Tensor) -> dict[str, Tensor]:
    """Outputs that are not the best any more."""
    scaled = {f"with the best outputs times {factor}": factor * best for factor in (0.3, 3, 30)}
    return scaled | {f"with the best outputs plus {shift}": best + shift for shift in (-10, -1, 1, 10)}


def _against_the_loss(
    task: Task, best: Tensor, others: dict[str, Tensor], encoded: Tensor, raw: Tensor
) -> str | None:
    """A metric that thinks better of outputs with a larger loss than of the best ones."""

    def loss(outputs: Tensor) -> float:
        return float(task.loss(outputs, encoded).mean())

    least, scores = loss(best), task.score(best, raw)
    for told, worse in others.items():
        if loss(worse) <= least:
            continue
        theirs = task.score(worse, raw)
        for name, metric in task.metrics.items():
            mine, other = scores[name], theirs[name]
            if mine is None or other is None or math.isclose(mine, other, rel_tol=1e-3, abs_tol=1e-3):
                continue
            if (other > mine) == metric.more_is_better:
                return (
                    f"{name} is {mine:.4g} where the loss is least, but {other:.4g} {told}; "
                    "look at encode, score and more_is_better"
                )
    return None


def _best_outputs(task: Task, outputs: Tensor, encoded: Tensor) -> Tensor:
    """The outputs with the least loss that an optimiser finds."""
    found = outputs.clone().requires_grad_()
    optimizer = torch.optim.Adam([found], lr=0.1)
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.autograd.backward(task.loss(found, encoded).mean())
        optimizer.step()
    return found.detach()


def _forgotten(fresh: Task, task: Task, pair: ThreeClasses, outputs: Tensor) -> str | None:
    """Whether a task that has seen other labels, without the largest, scores alike with the state of this
    one."""
    fresh.outputs(_info(pair))
    first = pair.source_labels.reshape(len(pair.source_labels), -1)[:, 0]
    fresh.fit(pair.source_labels[first < first.max()])
    try:
        fresh.load_state_dict(task.state_dict())
    except RuntimeError as error:
        return str(error).partition("\n")[2].strip() or str(error)
    raw = torch.from_numpy(np.array(pair.source_labels))
    same = torch.equal(fresh.encode(raw), task.encode(raw)) and fresh.score(outputs, raw) == task.score(
        outputs, raw
    )
    return None if same else "with its state another instance encodes or scores otherwise; make them buffers"
