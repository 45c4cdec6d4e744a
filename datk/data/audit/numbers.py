"""Labels that are numbers: their distribution, what tells them that should not, the order of the file."""

import math

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import r2_score

from datk.base.numbers import number_text
from datk.base.rng import derive_seed, numpy_generator
from datk.data.audit.findings import SEVERITIES, Finding, Severity, counted, option, some
from datk.data.audit.shortcuts import (
    CERTAIN,
    TREES,
    Limits,
    Table,
    sampled,
    trivial_views,
    verdict,
)
from datk.data.audit.values import Survey
from datk.data.splits import RowNumbers
from datk.interfaces import DomainPair

Labels = npt.NDArray[np.float64]

FAR_OUT = 3.0
"""Distance from the quartiles, in units of the distance between them, from which on a label is an outlier
(Tukey 1977)."""

DOMINANT = 0.5
"""Share of the labels' variance in outliers, and of the rows at one value, from which on they decide what is
learnt."""

FREQUENT, FEW = 0.1, 10
"""Share of the rows at one value from which on it is told, and number of different values up to which they
look like classes."""

SORTED, NEIGHBOURS, DRIFT = 0.99, 0.5, 0.2
"""Rank correlations that are told: of labels with the order of rows where they count as sorted, of each label
with the next one, of labels with the order of rows otherwise."""

R2 = Limits("R²", chance=0.0, medium=0.07, bright=0.19, high=0.26)
"""Those of the AUC, translated: if a number takes two values alike often, and a statistic is normal around
each, an AUC of 0.65, 0.75 and 0.80 is an R² of 0.07, 0.19 and 0.26. For means that lie d deviations apart
AUC = Phi(d / sqrt 2) and R² = d^2 / (d^2 + 4)."""


def labels_of(pair: DomainPair) -> tuple[tuple[str, ...], Labels]:
    """Names of the numbers that are predicted, and the source's labels [N, T]."""
    labels = np.asarray(pair.source_labels, dtype=np.float64)
    labels = labels.reshape(len(labels), -1)
    several = labels.shape[1] > 1
    return (tuple(pair.targets) if several else ("the label",)), labels


def check_distribution(pair: DomainPair) -> list[Finding]:
    """Range and spread of each number over the source's rows, outliers, and the most frequent value."""
    names, labels = labels_of(pair)
    return [
        _distribution("label distribution" + (f": {name}" if len(names) > 1 else ""), values)
        for name, values in zip(names, labels.T, strict=True)
    ]


def _distribution(check: str, values: Labels) -> Finding:
    def shown(value: float, spread: float | None = None) -> str:
        return number_text(float(value), spread, any_size=True)

    if values.min() == values.max():
        text = f"{shown(values[0])} in all rows: there is nothing to learn"
        return Finding(check, "source", "high", text)
    distinct, counts = np.unique(values, return_counts=True)
    frequent, share = distinct[counts.argmax()], counts.max() / len(values)
    text = (
        f"{shown(values.min())} to {shown(values.max())}, median {shown(float(np.median(values)))}, mean "
        f"{shown(values.mean(), float(values.std()))}; {counted(len(distinct), 'different value')}"
    )
    if len(distinct) < len(values):
        text += f", the most frequent {shown(frequent)} in {share:.1%} of the rows"
    severity: Severity = "ok"
    if share >= DOMINANT:
        severity = "medium"
        text += ", most of all: see whether it is a limit or stands for unknown"
    elif len(distinct) <= FEW:
        severity = "low"
        text += ": see whether they are classes, which are predicted without task=regression"
    elif share >= FREQUENT:
        severity = "low"
        text += ": see whether it is a limit or stands for unknown"
    first, third = np.quantile(values, [0.25, 0.75])
    fence = FAR_OUT * (third - first)
    far = np.flatnonzero((values < first - fence) | (values > third + fence)) if fence else np.empty(0, int)
    if len(far):
        squares = (values - values.mean()) ** 2
        part = float(squares[far].sum() / squares.sum())
        severity = max(severity, "medium" if part > DOMINANT else "low", key=SEVERITIES.index)
        text += (
            f"; {counted(len(far), 'outlier')} with {part:.0%} of the variance, which squared errors follow: "
            f"row {some(far)}; see that none stands for unknown, or predict the logarithm"
        )
    return Finding(check, "source", severity, text, tuple(far.tolist()))


def check_number_order(pair: DomainPair) -> list[Finding]:
    """Whether the file is sorted by a label; normal, and harmless where rows are shuffled.

    By Spearman's correlation of labels with row numbers, and of each label with the next one; of several
    numbers the one that shows most.
    """
    names, labels = labels_of(pair)
    rows = len(labels)
    objects = rows if pair.source.groups is None else len(np.unique(pair.source.groups))
    ranks = rankdata(labels, axis=0)
    along, name = max(
        ((_correlation(np.arange(rows), column), name) for name, column in zip(names, ranks.T, strict=True)),
        key=lambda found: abs(found[0]),
    )
    beside = max(_correlation(column[:-1], column[1:]) for column in ranks.T)
    certain = CERTAIN / math.sqrt(objects)
    harmless = "harmless here, as splits are shuffled, but shuffle them elsewhere"
    if abs(along) >= SORTED and rows > 2:
        text = f"rows are sorted by {name}; {harmless}"
    elif beside > max(NEIGHBOURS, certain) and pair.source.groups is None:
        advice = option(pair, "source_group", "give {}") or "give them one group"
        text = (
            f"neighbouring rows have similar labels (rank correlation {beside:.2f}); "
            f"if they show one object, {advice}"
        )
    elif abs(along) > max(DRIFT, certain):
        way = "rises" if along > 0 else "falls"
        text = f"{name} {way} along the file (rank correlation {along:.2f}); {harmless}"
    else:
        return [Finding("file order", "source", "ok", "rows are not sorted by label")]
    return [Finding("file order", "source", "low", text)]


def _correlation(first: npt.NDArray[np.number], second: npt.NDArray[np.number]) -> float:
    """Pearson's, 0 where one is constant."""
    if len(first) < 2 or not (np.ptp(first) and np.ptp(second)):
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def check_number_shortcuts(pair: DomainPair, found: Survey, groups: RowNumbers, seed: int) -> list[Finding]:
    """How well small models predict the source's labels from trivial views, cross-validated by object.

    In place of the AUC stands the R² of the labels' ranks, so that a few extreme labels neither make nor hide
    a shortcut; of several numbers that of the one which is predicted best. Its limits are those of the AUC,
    translated (see `R2`), and so is what counts as chance: of N objects a correlation has a deviation of
    1 / sqrt(N) by chance, so that `CERTAIN` of them are an R² of CERTAIN^2 / N.
    """
    names, labels = labels_of(pair)
    rows = sampled(found.finite, seed, "source")
    ranks = rankdata(labels[rows], axis=0) / max(len(rows), 1)
    findings = []
    for view, table in trivial_views(pair, found, rows).items():
        scores = _scores(table, ranks, groups[rows], seed)
        if scores is None:
            findings.append(verdict(view, None, R2, "", ""))
            continue
        best = int(np.argmax(scores[0]))
        score = float(scores[0][best]), float(scores[1][best])
        findings.append(verdict(view, score, R2, f"the rank of {names[best]}", "all rows"))
    return findings


def _scores(table: Table, ranks: Labels, groups: RowNumbers, seed: int) -> tuple[Labels, Labels] | None:
    """R² of each number [T], and its standard error at least."""
    objects, inverse = np.unique(groups, return_inverse=True)
    folds = min(5, len(objects) // 2)
    if folds < 2:
        return None
    fold = numpy_generator(seed, "audit", "folds").permutation(len(objects))[inverse] % folds
    draw = derive_seed(seed, "audit") % 2**31
    scores = []
    for number in range(folds):
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        if not np.ptp(ranks[test], axis=0).all():
            continue
        model = RandomForestRegressor(TREES, min_samples_leaf=3, max_features="sqrt", random_state=draw)
        wanted = ranks[train] if ranks.shape[1] > 1 else ranks[train, 0]
        told = model.fit(table[train], wanted).predict(table[test]).reshape(len(test), -1)
        scores.append(r2_score(ranks[test], told, multioutput="raw_values"))
    if len(scores) < 2:
        return None
    by_chance = CERTAIN / len(objects)
    error = np.std(scores, axis=0, ddof=1) / math.sqrt(len(scores))
    return np.mean(scores, axis=0), np.maximum(by_chance, error)
