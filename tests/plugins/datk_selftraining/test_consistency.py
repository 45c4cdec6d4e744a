import math

import pytest
import torch

from datk_selftraining.consistency import confident_cross_entropy, entropy_of_rows

LOGITS = torch.tensor(
    [
        [2.0, -1.0, 0.5],
        [0.0, 0.0, 0.0],
        [-3.0, 4.0, 1.0],
        [0.3, 0.2, 0.1],
        [9.0, 1.0, 2.0],
        [-1.0, -2.0, 3.0],
    ],
    dtype=torch.float64,
)


def softmax(row):
    """Probabilities of a row of logits."""
    terms = [math.exp(value) for value in row]
    return [term / sum(terms) for term in terms]


def test_the_entropy_is_the_formula():
    expected = [-sum(p * math.log(p) for p in softmax(row)) for row in LOGITS.tolist()]
    assert entropy_of_rows(LOGITS).tolist() == pytest.approx(expected, rel=1e-12)
    assert expected[1] == pytest.approx(math.log(3))


@pytest.mark.parametrize("logits", [1e4 * torch.eye(3), torch.zeros(4, 2)])
def test_the_entropy_has_a_finite_gradient_where_it_is_extreme(logits):
    logits = logits.clone().requires_grad_()
    torch.autograd.backward(entropy_of_rows(logits).sum())
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("threshold", [0.0, 0.6, 0.95, 1.0])
def test_the_confident_cross_entropy_is_the_formula(threshold, classes):
    teaching, learning = LOGITS[:, :classes].softmax(dim=1), LOGITS.flip(0)[:, :classes]
    losses, confident = [], 0
    for goal, row in zip(teaching.tolist(), learning.tolist(), strict=True):
        best = max(range(classes), key=lambda k: goal[k])
        if goal[best] >= threshold:
            confident += 1
            losses.append(-math.log(softmax(row)[best]))
    value, share = confident_cross_entropy(learning, teaching, threshold)
    assert float(value) == pytest.approx(sum(losses) / 6, rel=1e-12)
    assert float(share) == confident / 6


def test_rows_below_the_threshold_have_no_gradient():
    teaching = LOGITS.softmax(dim=1)
    learning = torch.zeros(6, 3, dtype=torch.float64, requires_grad=True)
    torch.autograd.backward(confident_cross_entropy(learning, teaching, 0.95)[0])
    moved = learning.grad.abs().sum(dim=1) > 0
    assert (
        moved.tolist() == (teaching.amax(dim=1) >= 0.95).tolist() == [False, False, True, False, True, True]
    )
