"""The paired two-way interval of a gain."""

import numpy as np
import pytest

from datk.base.errors import RunError
from datk.runs.verdict import Pairing, accuracy_gain, paired_gain
from tests import build


def experiment(rng, seeds=5, rows=200, groups=200, deviation=0.02, difference=0.0):
    """Two methods whose rows share their difficulty, each with luck of its own at every seed."""
    difficulty = rng.normal(size=groups)[np.arange(rows) % groups]
    pairings = []
    for _ in range(seeds):
        scores = []
        for better in (difference, 0.0):
            luck = deviation * rng.normal()
            right = 0.7 + 0.15 * difficulty + luck + better
            scores.append((rng.random(rows) < right).astype(float))
        pairings.append(Pairing(*scores, np.arange(rows) % groups))
    return pairings


def test_the_mean_is_that_of_the_paired_differences():
    pairings = experiment(np.random.default_rng(0))
    gain = paired_gain(pairings)
    assert gain.mean == pytest.approx(np.mean([each.ours - each.theirs for each in pairings]))
    assert gain.low < gain.mean < gain.high
    assert (gain.seeds, gain.rows) == (5, 200)
    assert paired_gain(pairings) == gain  # its draws are its own


@pytest.mark.parametrize(("deviation", "groups"), [(0.02, 200), (0.06, 200), (0.02, 50)])
def test_equal_methods_are_seldom_called_different(deviation, groups):
    rng = np.random.default_rng(1)
    trials = 60
    called = 0
    for _ in range(trials):
        gain = paired_gain(experiment(rng, deviation=deviation, groups=groups))
        called += gain.low > 0 or gain.high < 0
    assert called / trials <= 0.06


def test_a_large_difference_is_seen():
    rng = np.random.default_rng(2)
    seen = [paired_gain(experiment(rng, difference=0.1)).low > 0 for _ in range(20)]
    assert sum(seen) >= 18


def test_views_of_one_object_are_no_rows_of_their_own():
    """Each row four times leaves the interval as it is, if the copies are known to be copies."""
    pairings = experiment(np.random.default_rng(3), rows=60, groups=60)
    fourfold = [Pairing(*(np.tile(part, 4) for part in each)) for each in pairings]
    one, four = paired_gain(pairings), paired_gain(fourfold)
    assert four.high - four.low == pytest.approx(one.high - one.low, rel=0.02)


def test_of_a_single_seed_the_rows_alone_are_counted():
    (pairing,) = experiment(np.random.default_rng(4), seeds=1, rows=400, groups=400)
    gain = paired_gain([pairing])
    error = (pairing.ours - pairing.theirs).std() / 20
    assert gain.high - gain.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_few_seeds_are_not_taken_for_many():
    """Of two seeds that differ by 0.2 the interval holds both."""
    groups = np.arange(1000)
    pairings = [Pairing(np.full(1000, score), np.zeros(1000), groups) for score in (0.0, 0.2)]
    gain = paired_gain(pairings)
    assert gain.low <= -0.04
    assert gain.high >= 0.24


def test_seeds_may_have_rows_of_their_own():
    rng = np.random.default_rng(5)
    pairings = [each._replace(groups=each.groups + 10 * n) for n, each in enumerate(experiment(rng))]
    assert paired_gain(pairings).low < 0 < paired_gain(pairings).high


def test_no_scores_are_no_gain():
    with pytest.raises(ValueError, match="a row at least"):
        paired_gain([])


def test_runs_are_compared_row_by_row(tmp_path):
    ours, theirs = (build.run(tmp_path / str(n), epochs=n) for n in (2, 1))
    gain = accuracy_gain([ours], [theirs])
    scores = [run.metrics["target"]["test"]["accuracy"] for run in (ours, theirs)]
    assert gain.mean == pytest.approx(scores[0] - scores[1], abs=1e-6)


def test_what_cannot_be_compared_is_refused(tmp_path):
    run = build.run(tmp_path / "one")
    with pytest.raises(RunError, match="other data"):
        accuracy_gain([run], [build.run(tmp_path / "two", pair={"data_seed": 7})])
    with pytest.raises(RunError, match="no seed"):
        accuracy_gain([run], [run.model_copy(update={"seed": 9})])
    (tmp_path / "one" / "outputs.npz").unlink()
    with pytest.raises(RunError, match=r"outputs.npz is not there"):
        accuracy_gain([run], [run])
