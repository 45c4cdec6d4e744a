import math

import numpy as np
import pytest
import torch

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


def test_the_weights_have_no_gradient():
    """Finite differences with the weights held are those of autograd; of the whole they are not."""
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    leaf = logits.clone().requires_grad_()
    torch.autograd.backward(class_confusion(leaf, 1.0))
    step = 1e-6
    difference = torch.zeros(5, 3, dtype=torch.float64)
    for i in range(5):
        for k in range(3):
            moved = logits.clone()
            moved[i, k] += step
            difference[i, k] = (class_confusion(moved, 1.0) - class_confusion(logits, 1.0)) / step
    assert (difference - leaf.grad).abs().max() > 1e-3


def test_the_term_looks_at_the_target_alone(model, views, step):
    source, target = views(torch.randn(3, 4), torch.randn(7, 4), classes=3)
    term = MCC(MCC.Config(temperature=1.5), model(classes=3))
    value, logged = term(source, target, step())
    assert float(value) == pytest.approx(naive_confusion(target.logits.double().numpy(), 1.5), rel=1e-5)
    mean = target.logits.softmax(dim=1).mean(dim=0).numpy()
    assert float(logged["predicted classes"]) == pytest.approx(
        math.exp(-(mean * np.log(mean)).sum()), rel=1e-5
    )
