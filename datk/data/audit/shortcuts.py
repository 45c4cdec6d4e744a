"""Whether labels can be told from what should not tell them: corners, border, brightness, order of rows."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from datk.base.rng import derive_seed, numpy_generator
from datk.data.audit.findings import Finding, Severity
from datk.data.audit.values import Survey
from datk.data.rows import chunks
from datk.data.splits import RowNumbers
from datk.interfaces import Array, DomainPair

Table = npt.NDArray[np.float32]

SAMPLE, TREES = 4000, 25
"""Rows that the small models are fitted to, and trees of each."""

CERTAIN = 4.0
"""Standard errors that a result must lie above chance to be told."""


@dataclass(frozen=True)
class Limits:
    """From where on a view that should say nothing of the label is a fault."""

    score: str
    chance: float
    medium: float
    bright: float
    """Of the brightness, which may well be physics, from where on it is of severity medium."""
    high: float


AUC = Limits("AUC", chance=0.5, medium=0.65, bright=0.75, high=0.8)


def check_shortcuts(pair: DomainPair, found: Survey, groups: RowNumbers, seed: int) -> list[Finding]:
    """How well small models tell the source's classes from trivial views, cross-validated by object."""
    rows = sampled(found.finite, seed, "source")
    labels = pair.source_labels[rows]
    findings = []
    for name, table in trivial_views(pair, found, rows).items():
        score = _score(table, labels, groups[rows], seed)
        findings.append(verdict(name, score, AUC, "the class", "both classes"))
    return findings


def trivial_views(pair: DomainPair, found: Survey, rows: RowNumbers) -> dict[str, Table]:
    """What should say little of the labels of the source's images, [n, features] each: corners, border and
    the statistics of their values. Of vectors, whose every feature may say much, there is none."""
    if len(pair.source.x.shape) != 4:
        return {}
    edges = _edges(pair.source.x, rows) if len(rows) else {}
    return edges | {"brightness": found.statistics[rows]}


def verdict(name: str, score: tuple[float, float] | None, limits: Limits, label: str, rows: str) -> Finding:
    """Weigh what a view says.

    Args:
        score: how well it tells the label, and the standard error of that.
        label: what it is that was told.
        rows: which rows are to be made alike.
    """
    check = f"shortcut: {name}"
    if score is None:
        few = "rows or objects of a class" if limits is AUC else "rows or objects"
        return Finding(check, "source", "ok", f"too few {few} to tell")
    value, error = score
    text = f"{limits.score} {value:.2f} ± {error:.2f} for {label} (chance {limits.chance:.2f})"
    if value <= limits.medium:
        return Finding(check, "source", "ok", text)
    if value - CERTAIN * error <= limits.chance:
        return Finding(check, "source", "low", f"{text} from so few objects that it may be chance")
    severity: Severity = "high" if value > limits.high else "medium"
    if name == "brightness":
        severity = "medium" if value > limits.bright else "low"
        selected = "the classes were" if limits is AUC else "rows were"
        advice = f"see whether this is physics or how {selected} selected or scaled"
        return Finding(check, "source", severity, f"{text} from the statistics of single rows; {advice}")
    advice = f"crop or fill {rows} alike, for instance without constant corners"
    return Finding(check, "source", severity, f"{text} from the {name} alone; {advice}")


def check_order(pair: DomainPair) -> list[Finding]:
    """Whether the file is sorted by class; normal, and harmless where rows are shuffled."""
    labels = pair.source_labels
    changes = int((np.diff(labels) != 0).sum())
    shares = np.bincount(labels) / len(labels)
    expected = (len(labels) - 1) * (1 - (shares**2).sum())
    if changes == len(np.unique(labels)) - 1:
        text = "rows are sorted by class; harmless here, as splits are shuffled, but shuffle them elsewhere"
        return [Finding("file order", "source", "low", text)]
    if changes < expected / 2 and pair.source.groups is None and len(labels) >= 20:
        text = "labels come in runs; if neighbouring rows show one object, give pair.source_group"
        return [Finding("file order", "source", "low", text)]
    return [Finding("file order", "source", "ok", "rows are not sorted by class")]


def check_domains(surveys: Mapping[str, Survey], seed: int) -> list[Finding]:
    """How well the statistics of single rows tell the domains apart once each is standardised."""
    tables = []
    for domain, found in surveys.items():
        table = found.statistics[sampled(found.finite, seed, domain)]
        if not len(table):
            return [Finding("domain shift", "both", "ok", f"no row of the {domain} can be used to tell")]
        tables.append((table - table.mean(axis=0)) / np.maximum(table.std(axis=0), 1e-12))
    domains = np.repeat([0, 1], [len(table) for table in tables])
    score = _score(np.concatenate(tables), domains, np.arange(len(domains)), seed)
    if score is None:
        return [Finding("domain shift", "both", "ok", "too few rows to tell")]
    text = f"AUC {score[0]:.2f} for the domain from the standardised statistics of single rows (information)"
    return [Finding("domain shift", "both", "ok", text)]


def sampled(finite: npt.NDArray[np.bool_], seed: int, domain: str) -> RowNumbers:
    """Finite rows, all or as many as small models are fitted to, in increasing order."""
    rows = np.flatnonzero(finite)
    if len(rows) > SAMPLE:
        rows = numpy_generator(seed, "audit", domain).choice(rows, SAMPLE, replace=False)
    return np.sort(rows)


def _edges(x: Array, rows: RowNumbers) -> dict[str, Table]:
    """What the corners and the border of images say, per channel."""
    height, width = x.shape[2:]
    size = max(1, min(height, width) // 16)
    corners, border = [], []
    for _, chunk in chunks(x, rows):
        values = chunk.astype(np.float32)
        top, bottom = values[:, :, :size], values[:, :, height - size :]
        blocks = [part[..., cut] for part in (top, bottom) for cut in (np.s_[:size], np.s_[width - size :])]
        corners.append(_described([block.reshape(*block.shape[:2], -1) for block in blocks]))
        sides = [top, bottom, values[..., :size], values[..., width - size :]]
        border.append(_described([side.reshape(*side.shape[:2], -1) for side in sides]))
    return {"corners": np.concatenate(corners), "border": np.concatenate(border)}


def _described(parts: list[npt.NDArray[np.float32]]) -> Table:
    """Of each part mean, spread, extremes, and the share of pixels that equal its first: [n, features]."""
    tables = []
    for part in parts:
        constant = (part == part[..., :1]).mean(axis=2)
        tables += [part.mean(axis=2), part.std(axis=2), part.min(axis=2), part.max(axis=2), constant]
    return np.concatenate(tables, axis=1).astype(np.float32)


def _score(table: Table, labels: RowNumbers, groups: RowNumbers, seed: int) -> tuple[float, float] | None:
    """AUC, of several classes the mean over each against the rest, and its standard error at least."""
    classes, labels = np.unique(labels, return_inverse=True)
    objects = [len(np.unique(groups[labels == k])) for k in range(len(classes))]
    folds = min([5, *objects])
    if len(classes) < 2 or folds < 2:
        return None
    draw = derive_seed(seed, "audit") % 2**31
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=draw)
    scores = []
    for train, test in splitter.split(table, labels, groups):
        if len(np.unique(labels[train])) < len(classes) or len(np.unique(labels[test])) < len(classes):
            continue
        model = RandomForestClassifier(TREES, min_samples_leaf=3, random_state=draw)
        chances = model.fit(table[train], labels[train]).predict_proba(table[test])
        chances = chances[:, 1] if len(classes) == 2 else chances
        scores.append(float(roc_auc_score(labels[test], chances, multi_class="ovr")))
    if len(scores) < 2:
        return None
    positive = min(objects)
    others = max(sum(objects) - positive, 1)
    by_chance = math.sqrt((positive + others + 1) / (12 * positive * others))
    return float(np.mean(scores)), max(by_chance, float(np.std(scores, ddof=1)) / math.sqrt(len(scores)))
