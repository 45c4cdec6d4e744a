"""What the oracle goes by."""

import pytest
import torch

from datk.interfaces import Outputs, PairInfo
from datk.runs.oracle import Oracle
from datk_tasks.classification import Classification
from datk_tasks.regression import Regression


def score(task, logits, answers):
    oracle = Oracle(Oracle.Config(), task)
    oracle.answers = answers
    target = Outputs(torch.zeros(len(logits), 2), logits, None)
    return oracle.score(target, target)


@pytest.fixture
def regression():
    task = Regression(Regression.Config())
    task.outputs(PairInfo(shape=(2,), targets=("mass",)))
    return task


def test_accuracy_of_classes():
    logits = torch.tensor([[2.0, 1], [0, 1], [0, 1], [5, 4]])
    assert score(Classification(Classification.Config()), logits, torch.tensor([0, 1, 1, 1])) == 0.75


def test_r2_of_numbers(regression):
    answers = torch.tensor([[0.0], [1.0], [5.0]])
    assert score(regression, answers + 1, answers) == pytest.approx(1 - 3 / 14)


def test_minus_the_loss_where_r2_is_not_defined(regression):
    answers = torch.full((3, 1), 2.0)
    assert score(regression, torch.tensor([[2.0], [1.0], [5.0]]), answers) == pytest.approx(-10 / 3)
