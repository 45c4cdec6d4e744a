"""Classification as a task: sizes, losses, and labels that are none."""

import numpy as np
import pytest
import torch

from datk.config import plugins
from datk.interfaces import DataError, PairInfo
from datk.testing import assert_conforms
from datk_tasks.classification import Classification

INFO = PairInfo((4,), ("spiral", "elliptical", "odd"))


@pytest.fixture
def task():
    return Classification(Classification.Config())


def test_it_conforms_and_is_installed():
    assert_conforms(Classification)
    assert plugins.load(plugins.resolve("task", "classification")) is Classification


def test_the_loss_of_a_row_is_its_cross_entropy(task):
    logits = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 5
    labels = torch.arange(7) % 3
    expected = [-np.log(np.exp(z[y]) / np.exp(z).sum()) for z, y in zip(logits.numpy(), labels, strict=True)]
    assert task.loss(logits, labels).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_labels_are_class_numbers_of_any_integer_type(task, dtype):
    labels = torch.tensor([2, 0, 1], dtype=dtype)
    task.check(labels.numpy(), INFO)
    encoded = task.encode(labels)
    assert encoded.dtype == torch.int64
    assert encoded.tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("labels", "telling"),
    [
        (np.array([0.0, 1.0]), r"class numbers \[N\], not float64 of shape \[2\]"),
        (np.zeros((2, 1), int), r"not int64 of shape \[2, 1\]"),
        (np.array([True, False]), "not bool of shape"),
        (np.array([0, 3]), r"must lie in 0\.\.2, the numbers of 3 classes"),
        (np.array([-1, 0]), r"must lie in 0\.\.2"),
    ],
)
def test_what_is_no_class_number_is_refused(task, labels, telling):
    with pytest.raises(DataError, match=telling):
        task.check(labels, INFO)


def test_it_has_an_output_for_each_class(task):
    assert task.outputs(INFO) == 3
    with pytest.raises(DataError, match=r"the labels are numbers, not classes; set task=regression"):
        task.outputs(PairInfo((4,)))


def test_every_metric_is_scored_and_the_first_is_the_headline(task):
    logits = torch.eye(3)[[0, 1, 2, 0, 1]] * 4
    labels = torch.tensor([0, 1, 2, 2, 1])
    scores = task.score(logits, labels)
    assert [*scores] == [*task.metrics, "n"]
    assert scores["accuracy"] == task.headline(logits, labels) == pytest.approx(4 / 5)
    assert scores["n"] == 5
    lower = [name for name, metric in task.metrics.items() if not metric.more_is_better]
    assert lower == ["brier", "ece"]


@pytest.mark.parametrize(("positive", "precision"), [(None, 1 / 2), (1, 1 / 2), (0, 2 / 3)])
def test_the_positive_class_is_that_of_the_pair(task, positive, precision):
    task.outputs(PairInfo((4,), ("merger", "nonmerger"), positive=positive))
    logits = torch.eye(2)[[0, 0, 0, 1, 1]]
    assert task.score(logits, torch.tensor([0, 0, 1, 1, 0]))["precision"] == pytest.approx(precision)
