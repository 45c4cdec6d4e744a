"""Whether a single feature of vectors gives the label away."""

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from datk.base.rng import numpy_generator
from datk.data.audit.findings import Finding
from datk.data.audit.shortcuts import sampled
from datk.data.audit.values import Survey
from datk.interfaces import DomainPair

FEWEST = 50
"""Rows below which one of many features may sort the classes by chance."""

TOLERATED = 0.01
"""Share of the rows that may stand on the wrong side of a feature that gives the class away."""

SAME = 0.999
"""Rank correlation of a feature with a number from where on it is that number."""


def check_features(pair: DomainPair, found: Survey, seed: int) -> list[Finding]:
    """Look for features of the source's vectors that are the label, or were made from it.

    A feature that separates classes well is what one hopes for; one that sorts the rows by class without any
    mistake, or nearly so, is hardly ever a measurement.
    """
    check = "shortcut: single feature"
    rows = np.sort(sampled(found.finite, seed, "source"))
    if len(rows) < FEWEST:
        return [Finding(check, "source", "ok", f"too few rows to tell: {len(rows)}")]
    x, labels = np.asarray(pair.source.x[rows]), np.asarray(pair.source_labels)[rows]
    telling = _of_class(x, labels, seed) if pair.classes else _of_numbers(x, labels)
    if not telling.size:
        return [Finding(check, "source", "ok", "no feature alone gives the label away")]
    named = ", ".join(map(str, telling[:5])) + (", ..." if len(telling) > 5 else "")
    plural = "features" if len(telling) > 1 else "feature"
    verb = "give" if len(telling) > 1 else "gives"
    return [
        Finding(
            check,
            "source",
            "high",
            f"{plural} {named} alone {verb} the label away; leave out what is the label or was made from it",
        )
    ]


def _of_class(x: npt.NDArray[np.generic], labels: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """Features along which the class changes hardly more often than it must."""
    mixed = numpy_generator(seed, "audit", "features").permutation(len(x))  # equal values in no order
    order = np.argsort(x[mixed], axis=0, kind="stable")
    changes = (np.diff(labels[mixed][order], axis=0) != 0).sum(axis=0)
    least = len(np.unique(labels)) - 1
    return np.flatnonzero(changes <= least + TOLERATED * len(x))


def _of_numbers(x: npt.NDArray[np.generic], labels: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Features whose ranks are those of a number."""
    numbers = rankdata(labels.reshape(len(labels), -1), axis=0)
    ranks = rankdata(x, axis=0)
    numbers, ranks = numbers - numbers.mean(axis=0), ranks - ranks.mean(axis=0)
    sizes = np.sqrt((ranks**2).sum(axis=0)[:, None] * (numbers**2).sum(axis=0)[None])
    correlation = np.abs(ranks.T @ numbers) / np.maximum(sizes, 1e-12)
    return np.flatnonzero(correlation.max(axis=1) > SAME)
