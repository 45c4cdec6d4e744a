import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from datk_selftraining.mcc import MCC, class_confusion


def naive_confusion(logits, temperature):
    """The formulas, entry by entry."""
    rows, classes = logits.shape
    p = np.empty((rows, classes))
    for i in range(rows):
        scores = [math.exp(logits[i, k] / temperature) for k in range(classes)]
        p[i] = [score / sum(scores) for score in scores]
    weights = [1 + math.exp(sum(q * math.log(q) for q in row)) for row in p]
    weights = [rows * weight / sum(weights) for weight in weights]
    confusion = np.zeros((classes, classes))
    for j in range(classes):
        for k in range(classes):
            confusion[j, k] = sum(weights[i] * p[i, j] * p[i, k] for i in range(rows))
    off = 0.0
    for j in range(classes):
        off += sum(confusion[j, k] for k in range(classes) if k != j) / confusion[j].sum()
    return off / classes


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_it_is_the_formula(classes):
    logits = 3 * torch.randn(6, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(class_confusion(logits, 2.5)) == pytest.approx(
        naive_confusion(logits.numpy(), 2.5), rel=1e-10
    )


def test_certain_and_undecided_predictions():
    certain = 1000 * torch.eye(3)
    assert float(class_confusion(certain, 2.5)) == pytest.approx(0, abs=1e-6)
    assert float(class_confusion(torch.zeros(6, 3), 2.5)) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "logits", [torch.zeros(5, 4), 1000 * torch.eye(4)[[0, 0, 0]], 1e4 * torch.eye(2)[[1]]]
)
def test_the_gradient_is_finite_when_predictions_collapse_to_a_class(logits):
    logits = logits.clone().requires_grad_()
    value = class_confusion(logits, 2.5)
    torch.autograd.backward(value)
    assert value.isfinite()
    assert logits.grad.isfinite().all()


def held_confusion(logits, temperature, weights):
    """The formulas with weights that are given, row by row."""
    p = (logits / temperature).softmax(dim=1)
    value = 0.0
    for j in range(p.shape[1]):
        whole = (weights * p[:, j]).sum()
        value = value + (weights * p[:, j] * (1 - p[:, j])).sum() / whole
    return value / p.shape[1]


def test_the_weights_have_no_gradient():
    """The gradient is that of the value with the weights held."""
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    p = logits.softmax(dim=1)
    weights = 1 + (p * p.log()).sum(dim=1).exp()
    ours, held = (logits.clone().requires_grad_() for _ in range(2))
    torch.autograd.backward(class_confusion(ours, 1.0))
    torch.autograd.backward(held_confusion(held, 1.0, weights))
    torch.testing.assert_close(ours.grad, held.grad)
    free = logits.clone().requires_grad_()
    q = free.softmax(dim=1)
    torch.autograd.backward(held_confusion(free, 1.0, 1 + (q * q.log()).sum(dim=1).exp()))
    assert (free.grad - ours.grad).abs().max() > 1e-3


@pytest.mark.parametrize("gap", [10.0, 100.0, 1000.0])
def test_a_class_that_nothing_is_predicted_as(gap):
    """It is as confused as can be, also where float32, or even float64, has no number for its chances."""
    logits = torch.tensor([[3.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
    logits = torch.cat([logits, torch.full((3, 1), -gap)], dim=1).requires_grad_()
    value = class_confusion(logits, 1.0)
    torch.autograd.backward(value)
    assert logits.grad.isfinite().all()
    rows = logits.detach().double().numpy()
    expected = naive_confusion(rows, 1.0) if gap < 500 else (2 * naive_confusion(rows[:, :2], 1.0) + 1) / 3
    assert value.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("classes", [2, 10])
def test_predictions_of_one_class_alone_are_no_minimum(classes):
    logits = 1e4 * torch.eye(classes)[[0] * 6]
    assert float(class_confusion(logits, 2.5)) == pytest.approx(1 - 1 / classes)


def test_the_term_looks_at_the_target_alone(model, views, step):
    source, target = views(torch.randn(3, 4), torch.randn(7, 4), classes=3)
    term = MCC(MCC.Config(temperature=1.5), model(classes=3))
    value, logged = term(source, target, step())
    assert float(value) == pytest.approx(naive_confusion(target.logits.double().numpy(), 1.5), rel=1e-5)
    mean = target.logits.softmax(dim=1).mean(dim=0).numpy()
    assert float(logged["predicted classes"]) == pytest.approx(
        math.exp(-(mean * np.log(mean)).sum()), rel=1e-5
    )


def test_its_value_is_no_mean_over_rows():
    """Halves of a batch confuse less than the whole does."""
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    halves = (class_confusion(logits[:4], 2.5) + class_confusion(logits[4:], 2.5)) / 2
    assert abs(float(halves - class_confusion(logits, 2.5))) > 1e-3
    assert MCC.over_batch


def test_the_defaults_are_those_of_the_authors():
    config = MCC.Config()
    assert (config.weight, config.ramp, config.temperature) == (1.0, "constant", 2.5)
    with pytest.raises(ValidationError):
        MCC.Config(temperature=0)


def test_an_interrupted_run_goes_on(check_interruption):
    check_interruption("mcc")


def test_answers_do_not_matter(check_answers):
    check_answers("mcc")
