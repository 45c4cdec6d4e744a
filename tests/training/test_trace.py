"""Terms of the loss on their way to the log."""

import math

import pytest
import torch

from datk.base.errors import RunError
from datk.training.trace import PhaseTerms, Trace


def test_a_trace_means_phases_apart():
    trace = Trace(steps_per_epoch=4)
    trace.add(0, [PhaseTerms("a", ("x", "y"), (), torch.tensor([1.0, 10.0]))])
    trace.add(0, [PhaseTerms("b", ("x",), (), torch.tensor([5.0]))])
    trace.add(1, [PhaseTerms("a", ("x", "y"), (), torch.tensor([3.0, 20.0]))])
    trace.add(1, [PhaseTerms("b", ("x",), (), torch.tensor([7.0]))])
    assert trace.flush() == [
        {"step": 2, "phase": "a", "loss": 17.0, "terms": {"x": 2.0, "y": 15.0}},
        {"step": 2, "phase": "b", "loss": 6.0, "terms": {"x": 6.0}},
    ]
    assert trace.flush() == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_trace_names_the_first_wrong_step(value):
    trace = Trace(steps_per_epoch=4)
    trace.add(5, [PhaseTerms("a", ("x", "y"), (), torch.tensor([1.0, 1.0]))])
    trace.add(6, [PhaseTerms("a", ("x", "y"), (), torch.tensor([1.0, 1.0]))])
    trace.add(6, [PhaseTerms("b", ("x", "y"), (), torch.tensor([1.0, value]))])
    trace.add(7, [PhaseTerms("a", ("x", "y"), (), torch.tensor([value, value]))])
    with pytest.raises(
        RunError, match=rf"loss term 'y' became {value} at step 7 \(epoch 2\); epoch 1 is kept"
    ):
        trace.flush()


def test_what_is_only_logged_is_kept_out_of_the_loss():
    trace = Trace(steps_per_epoch=4)
    for step, extra in enumerate([0.25, 0.75]):
        trace.add(step, [PhaseTerms("a", ("x",), ("x.share", "x.size"), torch.tensor([2.0, extra, 10.0]))])
    assert trace.flush() == [
        {
            "step": 2,
            "phase": "a",
            "loss": 2.0,
            "terms": {"x": 2.0},
            "logged": {"x.share": 0.5, "x.size": 10.0},
        }
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_only_logged_may_be_no_number(value):
    trace = Trace(steps_per_epoch=4)
    trace.add(0, [PhaseTerms("a", ("x",), ("x.share", "x.size"), torch.tensor([2.0, value, 1.0]))])
    trace.add(1, [PhaseTerms("a", ("x",), ("x.share", "x.size"), torch.tensor([2.0, 1.0, 1.0]))])
    (record,) = trace.flush()
    assert record["logged"] == {"x.share": None, "x.size": 1.0}
    assert record["loss"] == 2.0
