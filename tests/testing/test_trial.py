"""The short runs are those of the trainer, and their data are what they say they are."""

import numpy as np
import pytest
import torch

from datk.testing.toys import IMAGES, SOURCE, TARGET, ThreeClasses
from datk.testing.trial import (
    Renumbered,
    Setting,
    Trial,
    component,
    installed,
    killed,
    network,
    with_other_answers,
)
from datk.testing.watch import FaultError
from tests.testing.broken_terms import CrashesInSecondPhase, Right


def setting(term=Right, **options):
    return Setting(network(), (component("alignment", term),), **options)


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    return Trial(setting(), tmp_path_factory.mktemp("trial") / "run").fit()


def test_the_toys_have_a_rare_class_that_some_batches_lack(trial):
    labels = np.bincount(trial.data.pair.source_labels)
    assert tuple(labels) == SOURCE
    assert tuple(np.bincount(trial.data.pair.answers(np.arange(sum(TARGET))))) == TARGET
    present = [batch.y.unique().tolist() for batch, _ in trial.data.training.batches(0)]
    assert any(len(classes) < 3 for classes in present)
    assert any(2 in classes for classes in present)


def test_the_network_is_as_large_as_nothing_else(trial):
    sizes = {size for p in trial.objective.parameters() for size in p.shape}
    assert trial.data.training.target_size not in sizes


def test_a_trial_learns():
    late = Trial(setting(trained=True)).fit()
    source = late.trainer.data.source
    x = torch.cat([x for x, _ in source.in_order(source.split.train)])
    predicted = late.objective.backbone.eval()(x).argmax(dim=1)
    assert (predicted == late.trainer.data.labels).float().mean() > 0.8


def test_the_files_after_a_kill_are_those_of_the_first_epoch(trial):
    state = torch.load(killed(trial.folder) / "checkpoints" / "last.pt", weights_only=True)
    assert state["epoch"] == 1
    assert torch.load(trial.folder / "checkpoints" / "last.pt", weights_only=True)["epoch"] == 2


def test_other_answers_leave_training_the_same_rows(trial):
    other = with_other_answers(trial)
    answers = [data.pair.answers(np.arange(sum(TARGET))) for data in (trial.data, other)]
    assert (np.diff(answers[1]) >= 0).all()
    assert not np.array_equal(trial.data.pair.target.x, other.pair.target.x)
    for (_, target), (_, theirs) in zip(
        trial.data.training.batches(0), other.training.batches(0), strict=True
    ):
        assert torch.equal(target.x, theirs.x)
        assert torch.equal(target.index, theirs.index)
    # A test whose answers were those of the rows after all would prove nothing.
    place = np.argsort(other.pair.target.groups)
    assert not np.array_equal(answers[0], answers[1][place])


def test_rows_with_other_numbers_are_the_same_rows(trial):
    data = trial.data.training
    numbers = torch.randperm(data.target_size)
    other = Renumbered(data, numbers)
    (rows,) = other.in_order().target
    for (source, target), (same_source, theirs) in zip(data.batches(1), other.batches(1), strict=True):
        assert torch.equal(source.index, same_source.index)
        assert torch.equal(target.x, theirs.x)
        assert torch.equal(theirs.index, numbers[target.index])
        assert torch.equal(rows.x[theirs.index], target.x)
    assert torch.equal(rows.index, torch.arange(data.target_size))


def test_a_fault_says_where_it_was():
    with pytest.raises(FaultError, match=r"RuntimeError in forward, phase 'second'"):
        Trial(setting(CrashesInSecondPhase)).fit()


@pytest.mark.parametrize(("labels", "columns"), [("classes", 3), ("numbers", 2)])
def test_there_are_classes_and_numbers(labels, columns):
    found = Trial(setting(labels=labels, shape=(7,))).fit()
    assert found.said[1].shape == (found.data.training.target_size, columns)
    assert ThreeClasses(IMAGES, labels).source.x.shape[1:] == IMAGES


def test_installed_components_have_their_default_options():
    assert installed("alignment", "datk:mmd").config.estimator == "unbiased"
