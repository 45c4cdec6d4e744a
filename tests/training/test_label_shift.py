"""Class shares of the target: estimates against shifts that are known."""

import math

import numpy as np
import pytest
import torch

from datk.training import label_shift
from datk.training.label_shift import (
    bbse_shares,
    chance_distance,
    distance,
    drawn_to,
    em_shares,
    information,
    predicted_shares,
    ratios,
    shares,
    temperature,
)

CLASSES = 10


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def gaussian_classes(rng, rows, pi, gap=2.5):
    """Rows of Gaussian classes with shares pi, a corner of a simplex each, with their labels."""
    labels = rng.choice(len(pi), rows, p=pi)
    return rng.normal(size=(rows, len(pi))) + gap * np.eye(len(pi))[labels], torch.from_numpy(labels)


def exact_logits(x, pi, gap=2.5):
    """Those of the best classifier for such rows, if the shares are pi."""
    return torch.from_numpy(gap * x + np.log(np.maximum(pi, 1e-12)))


def drawn(of_source, of_target, rows=2000, of_validation=None, validation=500, seed=0, factor=1.0):
    """Logits and labels of source rows, logits of the target, shares of both, with logits too large by a
    factor."""
    rng = np.random.default_rng(seed)
    of_source, of_target = np.asarray(of_source), np.asarray(of_target)
    x, labels = gaussian_classes(rng, validation, of_source if of_validation is None else of_validation)
    t, answers = gaussian_classes(rng, rows, of_target)
    logits, of_rows = factor * exact_logits(x, of_source), factor * exact_logits(t, of_source)
    return logits, labels, of_rows, tensor(of_source), shares(answers, len(of_target))


EQUAL = [1 / CLASSES] * CLASSES
HALVED = [1.5 / CLASSES] * 5 + [0.5 / CLASSES] * 5
MISSING = [2 / CLASSES] * 5 + [0.0] * 5
SHIFTS = {
    "54 to 10": ([0.46, 0.54], [0.9, 0.1]),
    "halved": (EQUAL, HALVED),
    "missing": (EQUAL, MISSING),
    "none": (HALVED, HALVED),
}


@pytest.mark.parametrize("shift", SHIFTS)
def test_em_finds_the_shares_of_a_shift_of_the_shares_alone(shift):
    logits, labels, of_rows, of_source, truth = drawn(*SHIFTS[shift], factor=3.0)
    certain = temperature(logits, labels)
    found = em_shares((of_rows / certain).softmax(dim=1), of_source)
    assert found.sum() == pytest.approx(1)
    assert distance(found, truth) < 0.03


@pytest.mark.parametrize("shift", SHIFTS)
def test_bbse_finds_the_shares_of_a_shift_of_the_shares_alone(shift):
    logits, labels, of_rows, of_source, truth = drawn(*SHIFTS[shift], validation=2000)
    found = bbse_shares(logits, labels, of_rows, of_source)
    assert found.sum() == pytest.approx(1)
    assert found.min() >= 0
    assert distance(found, truth) < 0.1


@pytest.mark.parametrize("shift", SHIFTS)
def test_the_mean_of_the_probabilities_goes_most_of_the_way(shift):
    logits, labels, of_rows, of_source, truth = drawn(*SHIFTS[shift], factor=3.0)
    found = predicted_shares(of_rows, temperature(logits, labels))
    assert found.sum() == pytest.approx(1)
    assert distance(found, truth) < 0.03 + 0.35 * distance(of_source, truth)


def test_em_is_the_naive_loop():
    _, _, of_rows, of_source, _ = drawn(*SHIFTS["halved"], rows=50)
    p, ps = of_rows.softmax(dim=1).numpy(), of_source.numpy()
    pi = ps.copy()
    for _ in range(7):
        posterior = [[p[i, k] * pi[k] / ps[k] for k in range(CLASSES)] for i in range(50)]
        posterior = [[value / sum(row) for value in row] for row in posterior]
        pi = np.array([sum(row[k] for row in posterior) / 50 for k in range(CLASSES)])
    assert em_shares(of_rows.softmax(dim=1), of_source, steps=7).numpy() == pytest.approx(pi, abs=1e-12)


def test_classes_that_validation_does_not_have_keep_their_shares_where_nothing_is_known():
    of_validation = np.array([0.0, 0.0] + [1 / 8] * 8)
    logits, labels, of_rows, of_source, truth = drawn(EQUAL, EQUAL, of_validation=of_validation)
    for found in (
        bbse_shares(logits, labels, of_rows, of_source),
        em_shares((of_rows / temperature(logits, labels)).softmax(dim=1), of_source),
    ):
        assert found.isfinite().all()
        assert found.sum() == pytest.approx(1)
        assert distance(found, truth) < 0.25


@pytest.mark.parametrize("classes", [2, 10])
def test_a_network_that_predicts_one_class_tells_nothing(classes):
    of_source = tensor([1 / classes] * classes)
    logits = torch.zeros(40, classes, dtype=torch.float64)
    logits[:, 0] = 1e-3
    labels = torch.arange(40) % classes
    assert distance(bbse_shares(logits, labels, logits, of_source), of_source) < 1e-6
    assert distance(em_shares(torch.full((40, classes), 1 / classes), of_source), of_source) < 1e-6


def test_a_class_that_the_source_does_not_have_has_no_share():
    of_source = tensor([0.5, 0.5, 0.0])
    found = em_shares(torch.full((20, 3), 1 / 3), of_source)
    assert found.tolist() == pytest.approx([0.5, 0.5, 0])
    assert ratios(tensor([0.2, 0.3, 0.5]), of_source)[2] == 0


def test_the_temperature_is_that_of_the_likelihood():
    logits, labels, *_ = drawn(EQUAL, EQUAL, validation=3000, factor=4.0)
    assert temperature(logits, labels) == pytest.approx(4, rel=0.1)
    assert temperature(logits / 16, labels) == pytest.approx(0.25, rel=0.1)


def test_a_few_rows_without_an_error_do_not_make_a_network_certain():
    labels = torch.arange(4) % 2
    logits = 2 * torch.nn.functional.one_hot(labels, 2).double()
    assert 0.2 < temperature(logits, labels) < 1
    assert temperature(logits.repeat(1000, 1), labels.repeat(1000)) < 0.2


def test_few_rows_are_drawn_to_the_shares_of_the_source():
    one, other = tensor([0.5, 0.5]), tensor([1.0, 0.0])
    assert drawn_to(one, other, 0).tolist() == one.tolist()
    assert drawn_to(one, other, 10).tolist() == pytest.approx([0.75, 0.25])
    assert drawn_to(one, other, 10**6).tolist() == pytest.approx([1, 0], abs=1e-4)


def test_total_variation():
    assert distance(tensor([1.0, 0.0]), tensor([0.0, 1.0])) == 1
    assert distance(tensor([0.54, 0.46]), tensor([0.10, 0.90])) == pytest.approx(0.44)


@pytest.mark.parametrize(("classes", "source", "target"), [(2, 100, 50), (10, 300, 200), (31, 500, 60)])
def test_what_chance_does_to_shares(classes, source, target):
    rng = np.random.default_rng(0)
    pi = rng.dirichlet(np.ones(classes) * 5)
    gaps = np.abs(
        rng.multinomial(source, pi, 2000) / source - rng.multinomial(target, pi, 2000) / target
    ).sum(axis=1)
    assert chance_distance(tensor(pi), source, target) == pytest.approx(gaps.mean() / 2, rel=0.05)


def test_weights_have_mean_one_over_the_source():
    of_source, of_target = tensor([0.7, 0.2, 0.1, 0.0]), tensor([0.1, 0.2, 0.7, 0.0])
    weights = ratios(of_target, of_source)
    assert weights.dtype == torch.float32
    assert float((weights * of_source).sum()) == pytest.approx(1)
    assert float(weights[2] / weights[1]) == pytest.approx(label_shift.LARGEST_RATIO)  # not 7
    assert float(weights[1] / weights[0]) == pytest.approx(7)
    assert weights[3] == 0
    assert ratios(tensor([0.0, 0.0, 0.0, 1.0]), of_source).tolist() == [1, 1, 1, 1]


def test_information():
    labels = torch.arange(30) % 3
    assert information(1e3 * torch.nn.functional.one_hot(labels, 3).float()) == pytest.approx(math.log(3))
    assert information(torch.tensor([[5.0, 0.0, -5.0]]).repeat(30, 1)) == pytest.approx(0, abs=1e-12)
    assert information(torch.zeros(30, 3)) == pytest.approx(0, abs=1e-12)


def test_rows_of_which_nothing_finite_is_said_are_left_out():
    logits = torch.tensor([[3.0, 0.0], [torch.nan, 0.0], [0.0, torch.inf]])
    assert torch.equal(predicted_shares(logits), predicted_shares(logits[:1]))
    assert information(logits) == information(logits[:1])
    assert predicted_shares(logits[1:]).tolist() == [0.5, 0.5]
