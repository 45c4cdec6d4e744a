"""How several candidates come to one prediction."""

import numpy as np
import pytest

from datk.base.errors import RunError
from datk.runs.vote import _Once, ballot, reason, soft_vote
from datk.training.report import Reporter


def logits(*p):
    return np.log(np.array(p, np.float32))


def test_the_vote_is_the_mean_of_the_probabilities():
    one, other = logits([0.9, 0.1], [0.2, 0.8]), logits([0.5, 0.5], [0.6, 0.4]) + 3
    np.testing.assert_allclose(np.exp(soft_vote([one, other])), [[0.7, 0.3], [0.4, 0.6]], rtol=1e-5)
    certain = np.array([[2000, 0], [0, 2000]], np.float32)
    assert np.isfinite(soft_vote([certain, certain])).all()


@pytest.mark.parametrize("classes", [2, 10])
def test_what_says_the_same_of_every_row_has_no_vote(classes):
    sure = np.eye(classes, dtype=np.float32)[np.arange(200) % classes] * 9
    collapsed = np.eye(classes, dtype=np.float32)[np.zeros(200, int)] * 9
    said = {"source-only": sure, "alike": sure * 0.95, "one class": collapsed, "unsure": sure * 0.1}
    assert [each.name for each in ballot(said) if each.votes] == ["source-only", "alike"]
    information = [each.information for each in ballot(said)]
    assert information[2] == pytest.approx(0, abs=1e-6)
    assert 0.9 * np.log(classes) < information[0] < np.log(classes)


def test_nothing_is_made_of_a_source_model_that_says_nothing():
    """Of networks that have learnt nothing none has collapsed by comparison."""
    rng = np.random.default_rng(0)
    said = {name: rng.normal(size=(50, 2)).astype(np.float32) * 0.05 for name in ("source-only", "mmd")}
    said["mmd"] /= 5
    first, second = ballot(said)
    assert second.information < 0.9 * first.information
    assert second.votes


def test_what_is_not_finite_has_no_vote():
    good = logits([0.9, 0.1], [0.2, 0.8])
    bad = np.array([[np.nan, 0], [1, 0]], np.float32)
    _, second = ballot({"source-only": good, "mmd": bad})
    assert (second.votes, second.information) == (False, None)
    with pytest.raises(RunError, match="source-only says of the target's training rows is not finite"):
        ballot({"source-only": bad, "mmd": good})


def test_the_reason_is_a_line():
    sure = np.eye(4, dtype=np.float32)[np.arange(40) % 4] * 8
    listed = ballot({"source-only": sure, "mmd": sure, "dann": sure * 0.1})
    assert reason(listed, True) == (
        "3 candidates; dann dropped: its predictions collapse (IM 0.07 < 0.9 x 1.38); "
        "soft vote of source-only, mmd"
    )


def test_what_candidates_note_alike_is_told_once_and_all_else_each_time():
    told = []
    events = [name for name in vars(Reporter) if not name.startswith("_")]

    class Spy(Reporter):
        pass

    for event in events:
        setattr(Spy, event, lambda self, *given, event=event: told.append((event, *given)))
    once = _Once(Spy())
    given = {"started": ("a", 1, 2), "planned": (1, 2), "note": ("n",), "alarm": ("c", "m"), "stopped": ()}
    for _ in range(2):
        for event in events:
            getattr(once, event)(*given.get(event, (1,)))
    assert {event for event, *_ in told} == {*events}
    assert {event for event in events if sum(name == event for name, *_ in told) == 1} == {"note", "alarm"}
