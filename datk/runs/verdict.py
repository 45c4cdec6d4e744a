"""Paired comparison of two sets of runs: the gain of one over the other, with its interval.

Seeds and test rows are both a sample, so that an interval must count both: with three to five seeds,
intervals over the seeds alone, or over the rows alone, call equal methods different in a tenth to a third of
all cases.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from datk.base.errors import RunError
from datk.base.rng import numpy_generator
from datk.runs import outputs
from datk.runs.outputs import PartOutputs
from datk.runs.result import RunResult

RESAMPLES, AT_ONCE = 5000, 250
MOST_OBJECTS = 2000
"""What is drawn at a time: more objects than that are drawn in bundles."""
LEVEL = 0.95

Floats = npt.NDArray[np.float64]


class Gain(NamedTuple):
    """A difference of two means, and the interval that holds the true one with a probability of 95 %."""

    mean: float
    low: float
    high: float
    seeds: int
    rows: int

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.low:+.2f}, {self.high:+.2f}]"


class Pairing(NamedTuple):
    """The scores of two runs with one seed, on the same rows."""

    ours: Floats
    """Score of each row [n], for instance 1 where the prediction is right."""
    theirs: Floats
    groups: npt.NDArray[np.int64]
    """Number of the object that each row shows [n]."""


def paired_gain(pairings: Sequence[Pairing]) -> Gain:
    """Mean score of `ours` less that of `theirs`, with the percentile interval of a two-way bootstrap.

    Objects are drawn with replacement, and with them all their rows, and so are seeds: a seed stands for the
    first weights and the batches of both runs, and is drawn for both. What the seeds contribute is widened by
    sqrt(S / (S - 1)) for S seeds, as the spread among few is too small by that; of a single seed it is not
    known, and the interval is that of the rows alone. Seeds may have test rows of their own, which are
    matched by object.

    Raises:
        ValueError: no pairing, or one without rows.
    """
    if not pairings or not all(len(each.ours) for each in pairings):
        raise ValueError("a gain needs the scores of a row at least")
    objects, place = np.unique(np.concatenate([each.groups for each in pairings]), return_inverse=True)
    ends = np.cumsum([len(each.groups) for each in pairings])[:-1]
    sums = np.zeros((len(pairings), len(objects)))
    sizes = np.zeros_like(sums)
    for seed, (each, where) in enumerate(zip(pairings, np.split(place, ends), strict=True)):
        np.add.at(sums[seed], where, each.ours - each.theirs)
        np.add.at(sizes[seed], where, 1.0)
    rng = numpy_generator(0, "verdict")
    if len(objects) > MOST_OBJECTS:  # bundles of them vary as much as they do one by one
        bundle = rng.permutation(len(objects)) % MOST_OBJECTS
        sums, sizes = (_bundled(each, bundle) for each in (sums, sizes))
    seeds, count = sums.shape
    differences = []
    for _ in range(RESAMPLES // AT_ONCE):
        drawn = rng.multinomial(count, np.full(count, 1 / count), size=AT_ONCE).T.astype(float)
        of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=AT_ONCE).T.astype(float)
        total, rows = sums @ drawn, sizes @ drawn
        middle = total.sum(axis=0) / np.maximum(rows.sum(axis=0), 1)
        moved = (of_seeds * total).sum(axis=0) / np.maximum((of_seeds * rows).sum(axis=0), 1)
        widening = np.sqrt(seeds / (seeds - 1)) if seeds > 1 else 0.0
        differences.append(middle + widening * (moved - middle))
    low, high = np.quantile(np.concatenate(differences), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    mean = sums.sum() / sizes.sum()
    rows_of_a_seed = round(sizes.sum() / seeds)
    return Gain(float(mean), float(low), float(high), seeds, rows_of_a_seed)


def _bundled(of_objects: Floats, bundle: npt.NDArray[np.int64]) -> Floats:
    whole = np.zeros((len(of_objects), MOST_OBJECTS))
    for row, into in zip(of_objects, whole, strict=True):
        np.add.at(into, bundle, row)
    return whole


def accuracy_gain(ours: Sequence[RunResult], theirs: Sequence[RunResult]) -> Gain:
    """Target accuracy that runs gain over others with the same seeds, on the same rows.

    Raises:
        RunError: no seed in common, other data or other test rows, or a run without outputs.
    """
    others = {result.seed: result for result in theirs}
    pairs = [(result, others[result.seed]) for result in ours if result.seed in others]
    if not pairs:
        raise RunError("there is no seed that both were run with")
    return paired_gain([_pairing(*pair) for pair in pairs])


def _pairing(one: RunResult, other: RunResult) -> Pairing:
    if one.data_sha256 != other.data_sha256:
        raise RunError(f"{one.folder} and {other.folder} have other data")
    mine, theirs = (outputs.read(result.folder).get(("target", "test")) for result in (one, other))
    if mine is None or theirs is None:
        raise RunError("no target row is labelled")
    if not np.array_equal(np.sort(mine.rows), np.sort(theirs.rows)):
        raise RunError(f"{one.folder} and {other.folder} have other test rows")
    order = np.argsort(mine.rows)
    return Pairing(_right(mine)[order], _right(theirs)[np.argsort(theirs.rows)], mine.groups[order])


def _right(part: PartOutputs) -> Floats:
    assert part.labels is not None
    right: Floats = np.equal(part.logits.argmax(axis=1), part.labels).astype(np.float64)
    return right
