"""Which epoch is kept, by the source's validation rows alone."""

import math

import numpy as np
import pytest
import torch

from datk.base.errors import ConfigError
from datk.config.resolve import resolve
from datk.interfaces import Outputs, PairInfo
from datk.training.selection import Selection
from datk_selectors.source import Last, SourceValidationAccuracy, SourceValidationLoss
from datk_tasks.classification import Classification
from datk_tasks.regression import Regression


def classification():
    return Classification(Classification.Config())


def regression(labels):
    task = Regression(Regression.Config())
    task.outputs(PairInfo(shape=(2,), targets=tuple(f"target {k}" for k in range(labels.shape[1]))))
    task.fit(labels)
    return task


def outputs(logits, labels=None):
    return Outputs(torch.zeros(len(logits), 2), logits, labels)


NOTHING = outputs(torch.zeros(0, 3))


def chosen(selector, epochs):
    """The epoch that a selector keeps, of what the network says after each."""
    selection = Selection("test")
    for epoch, source in enumerate(epochs, start=1):
        selection.improves(selector.score(source, NOTHING), epoch, selector.latest_of_equals)
    return selection.epoch


def test_the_loss_of_classes_against_a_loop():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(9, 3, generator=generator), torch.arange(9) % 3
    expected = 0.0
    for row, label in zip(logits.double().numpy(), labels.tolist(), strict=True):
        expected += (math.log(sum(math.exp(value) for value in row)) - row[label]) / 9
    selector = SourceValidationLoss(SourceValidationLoss.Config(), classification())
    assert selector.score(outputs(logits, labels), NOTHING) == pytest.approx(-expected)


@pytest.mark.parametrize("columns", [1, 3])
def test_the_loss_of_numbers_against_a_loop(columns):
    rng = np.random.default_rng(0)
    labels, logits = rng.normal(size=(9, columns)) * [1, 1e6, 1e-6][:columns], rng.normal(size=(9, columns))
    task = regression(labels)
    expected = 0.0
    for row, said in zip((labels - labels.mean(axis=0)) / labels.std(axis=0), logits, strict=True):
        expected += sum((s - y) ** 2 for s, y in zip(said, row, strict=True)) / columns / 9
    selector = SourceValidationLoss(SourceValidationLoss.Config(), task)
    source = outputs(torch.from_numpy(logits).float(), task.encode(torch.from_numpy(labels)))
    assert selector.score(source, NOTHING) == pytest.approx(-expected, rel=1e-5)


def test_accuracy():
    selector = SourceValidationAccuracy(SourceValidationAccuracy.Config(), classification())
    logits = torch.tensor([[2.0, 1], [0, 1], [0, 1], [5, 4]])
    assert selector.score(outputs(logits, torch.tensor([0, 0, 1, 1])), NOTHING) == 0.5


@pytest.mark.parametrize(
    ("cls", "epoch"), [(SourceValidationLoss, 3), (SourceValidationAccuracy, 2), (Last, 4)]
)
def test_the_epoch_that_is_kept(cls, epoch):
    """The second epoch is right first, the third is right and sure, the fourth is what the first was."""
    labels = torch.tensor([0, 1])
    right = torch.tensor([[1.0, 0], [0, 1]])
    epochs = [outputs(logits, labels) for logits in (-right, right, 3 * right, -right)]
    assert chosen(cls(cls.Config(), classification()), epochs) == epoch


def test_the_epoch_that_is_kept_of_a_regression():
    labels = np.arange(4.0)[:, None]
    task = regression(labels)
    encoded = task.encode(torch.from_numpy(labels))
    epochs = [outputs(encoded + gap, encoded) for gap in (1.0, -0.1, 0.5, -0.1)]
    assert chosen(SourceValidationLoss(SourceValidationLoss.Config(), task), epochs) == 2
    assert chosen(Last(Last.Config(), task), epochs) == 4


def test_none_of_them_asks_for_the_target():
    assert not any(cls.needs_target for cls in (SourceValidationLoss, SourceValidationAccuracy, Last))


def test_accuracy_is_refused_where_numbers_are_predicted():
    config = {"task": "regression", "train": {"select": "source-validation-accuracy"}}
    with pytest.raises(
        ConfigError, match="selector 'source-validation-accuracy' needs classes, and task 'regression'"
    ):
        resolve(config=config)
