"""Terms of the loss on their way to the log."""

import math

import pytest
import torch

from datk.base.errors import RunError
from datk.training.trace import Losses, Trace


def test_a_trace_means_phases_apart():
    trace = Trace(steps_per_epoch=4)
    trace.add(0, [Losses("a", ("x", "y"), torch.tensor([1.0, 10.0]))])
    trace.add(0, [Losses("b", ("x",), torch.tensor([5.0]))])
    trace.add(1, [Losses("a", ("x", "y"), torch.tensor([3.0, 20.0]))])
    trace.add(1, [Losses("b", ("x",), torch.tensor([7.0]))])
    assert trace.flush() == [
        {"step": 2, "phase": "a", "loss": 17.0, "terms": {"x": 2.0, "y": 15.0}},
        {"step": 2, "phase": "b", "loss": 6.0, "terms": {"x": 6.0}},
    ]
    assert trace.flush() == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_trace_names_the_first_wrong_step(value):
    trace = Trace(steps_per_epoch=4)
    trace.add(5, [Losses("a", ("x", "y"), torch.tensor([1.0, 1.0]))])
    trace.add(6, [Losses("a", ("x", "y"), torch.tensor([1.0, 1.0]))])
    trace.add(6, [Losses("b", ("x", "y"), torch.tensor([1.0, value]))])
    trace.add(7, [Losses("a", ("x", "y"), torch.tensor([value, value]))])
    with pytest.raises(
        RunError, match=rf"loss term 'y' became {value} at step 7 \(epoch 2\); epoch 1 is kept"
    ):
        trace.flush()
