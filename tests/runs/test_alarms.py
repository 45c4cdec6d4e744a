"""Alarms: what raises them, what does not, and where they are told."""

import json

import numpy as np
import pytest
import torch

from datk.data.dataset import TrainingData
from datk.runs import alarms
from datk.runs.alarms import Alarm, Alarms
from datk.runs.outputs import PartOutputs
from datk.runs.result import read_result
from datk.runs.run import execute
from datk.training.label_shift import information
from datk.training.report import Reporter, Reporters
from datk.training.signs import Look
from tests.build import dataset, experiment
from tests.toys import TOYS


def codes(found):
    return [alarm.code for alarm in found]


def data_of(shift=0.0, standardize="source", **pair):
    pair = {"name": TOYS + "Toy", "source_rows": 200, "target_rows": 200, "shift": shift, **pair}
    return dataset(experiment(pair=pair, data={"standardize": standardize, "target_rows": "split"}))


def said(logits):
    logits = np.asarray(logits, np.float32)
    rows = np.arange(len(logits))
    return PartOutputs(rows, logits, None, rows)


def one_hot(labels, classes, size=8.0):
    return size * np.eye(classes)[np.asarray(labels)]


# --- before training -----------------------------------------------------------------------------------


def test_a_part_with_fewer_than_30_rows_is_told_with_what_they_are_good_for():
    assert not alarms.few_rows({"source test": 30, "target test": 1000})
    (alarm,) = alarms.few_rows({"source test": 29, "target test": 1, "source validation": 30})
    assert alarm.code == "few-rows"
    assert "source test 29, target test 1;" in alarm.message
    assert "an accuracy over 1 of them is known to within 1.00" in alarm.message
    assert "validation" not in alarm.message
    (alarm,) = alarms.few_rows({"target test": 16})
    assert "within 0.25" in alarm.message
    (alarm,) = alarms.few_rows({"target test": 16}, classes=False)
    assert "accuracy" not in alarm.message


def test_a_batch_with_fewer_than_16_rows_is_told():
    assert not alarms.small_batch(16, 16)
    assert not alarms.small_batch(16, None)
    (alarm,) = alarms.small_batch(128, 15)
    assert alarm.code == "small-batch"
    assert "15 of the target" in alarm.message
    assert "128" not in alarm.message
    (alarm,) = alarms.small_batch(2, 3)
    assert "2 of the source and 3 of the target" in alarm.message


@pytest.mark.parametrize("shape", [(6,), (6, 4, 4)])
@pytest.mark.parametrize(("shift", "raised"), [(1.0, False), (2.0, False), (20.0, True), (-20.0, True)])
def test_a_target_far_from_the_source_is_told(shape, shift, raised):
    found = alarms.far_target(data_of(shift, shape=shape).training)
    assert codes(found) == ["far-target"] * raised
    if raised:
        assert ("100% of the features" if shape == (6,) else "100% of the channels") in found[0].message
        assert "data.standardize=per-domain" in found[0].message


def test_a_fifth_of_the_channels_is_enough_and_less_is_not():
    training: TrainingData = data_of().training
    own = training.target.own
    own.mean = own.mean + torch.tensor([100.0, 0, 0, 0, 0, 0])
    assert not alarms.far_target(training)  # one of six
    own.std = own.std * torch.tensor([1.0, 4.0, 1, 1, 1, 1])
    (alarm,) = alarms.far_target(training)
    assert "33% of the features" in alarm.message
    own.std = own.std * torch.tensor([1.0, 1 / 16, 1, 1, 1, 1])
    assert codes(alarms.far_target(training)) == ["far-target"]  # narrower by as much
    own.std = own.std * torch.tensor([1.0, 2.0, 1, 1, 1, 1])
    assert not alarms.far_target(training)


# --- after the warm-up ---------------------------------------------------------------------------------


def test_predicted_shares_far_from_those_of_the_source_are_told_with_both():
    data = data_of(classes=2).training
    names = ["a", "b"]
    assert not alarms.label_shift(Look([0.7, 0.3], 0.5), data, names, True, False)
    (alarm,) = alarms.label_shift(Look([0.9, 0.1], 0.5), data, names, True, False)
    assert alarm.code == "label-shift"
    assert "'a' 50% -> 90%" in alarm.message
    assert "set train.label_shift=estimate, and compare with --align none" in alarm.message
    (weighed,) = alarms.label_shift(Look([0.9, 0.1], 0.5), data, names, True, True)
    assert "set train.label_shift" not in weighed.message
    (alone,) = alarms.label_shift(Look([0.9, 0.1], 0.5), data, names, False, False)
    assert "give it train.label_shift=estimate" in alone.message


def test_few_rows_of_many_classes_differ_by_chance():
    look = [0.16] * 5 + [0.04] * 5
    large = data_of(classes=10, source_rows=2000, target_rows=2000).training
    assert alarms.label_shift(Look(look, 1.0), large, list("abcdefghij"), True, False)
    small = data_of(classes=10, source_rows=60, target_rows=20).training
    assert not alarms.label_shift(Look(look, 1.0), small, list("abcdefghij"), True, False)


# --- after training ------------------------------------------------------------------------------------


def test_a_term_that_does_nothing_is_told_with_the_weight_that_would_matter():
    class Term:
        config = type("Config", (), {"weight": 2.0})

    off = type("Off", (), {"config": type("Config", (), {"weight": 0.0})})
    terms = {"strong": Term(), "weak": Term(), "dead": Term(), "off": off()}
    found = alarms.idle_terms({"strong": 0.5, "weak": 1e-5, "dead": 0.0, "off": 0.0}, terms)
    assert codes(found) == ["idle-term"] * 2
    assert found[0].message.startswith("weak does next to nothing")
    assert "reg.weak.weight=20000 would make it a tenth (it is 2)" in found[0].message
    assert found[1].message.startswith("dead")
    assert "see whether it can do anything" in found[1].message


def test_a_run_that_ended_while_its_loss_fell_is_told_with_a_number_of_steps():
    assert not alarms.last_epoch(0.01, 60)
    (alarm,) = alarms.last_epoch(0.131, 60)
    assert alarm.code == "last-epoch"
    assert "13% of the whole fall of the source's validation loss" in alarm.message
    assert "than these 60 steps, for instance by --set train.steps=200" in alarm.message


def test_predictions_that_tell_less_than_after_the_warm_up_are_told():
    labels = np.arange(60) % 3
    sharp, vague = one_hot(labels, 3), one_hot(labels, 3, 1.0)
    of_source = [10, 10, 10]
    then = Look([1 / 3] * 3, information(torch.tensor(sharp)))
    assert not alarms.collapse(said(sharp), of_source, then, True)
    (alarm,) = alarms.collapse(said(vague), of_source, then, True)
    assert alarm.code == "collapse"
    assert "tell less of their rows than after the warm-up (0." in alarm.message
    assert not alarms.collapse(said(vague), of_source, then, False)
    assert not alarms.collapse(said(vague), of_source, None, True)


@pytest.mark.parametrize(
    ("predicted", "classes", "raised"), [(1, 2, True), (2, 2, False), (4, 10, True), (5, 10, False)]
)
def test_a_network_that_predicts_few_of_the_classes_is_told(predicted, classes, raised):
    logits = one_hot(np.arange(100) % predicted, classes)
    found = alarms.collapse(said(logits), [10] * classes, None, False)
    assert codes(found) == ["collapse"] * raised
    if raised:
        assert f"{predicted} of the source's {classes} classes" in found[0].message


def test_classes_that_the_source_does_not_have_and_rows_that_are_not_there_do_not_count():
    logits = one_hot(np.arange(100) % 3, 10)
    assert not alarms.collapse(said(logits), [10] * 6 + [0] * 4, None, False)
    assert not alarms.collapse(said(logits[:3]), [10] * 10, None, False)


# --- where they are told -------------------------------------------------------------------------------


class Heard(Reporter):
    def __init__(self):
        self.alarms, self.epochs = [], 0

    def epoch_ended(self, record):
        self.epochs += 1

    def alarm(self, code, message):
        self.alarms.append((self.epochs, code, message))


def test_an_alarm_is_raised_once():
    heard = Heard()
    raised = Alarms(Reporters([heard]))
    one, other = Alarm(code="few-rows", message="x"), Alarm(code="few-rows", message="y")
    raised.add([one])
    raised.add([one, other])
    assert raised.raised == [one, other]
    assert [message for _, _, message in heard.alarms] == ["x", "y"]


def test_a_run_tells_reporters_log_and_result(tmp_path):
    heard = Heard()
    chosen = experiment(
        pair={"name": TOYS + "Toy", "source_rows": 40, "target_rows": 50, "shift": 30.0},
        align="mmd",
        train={"epochs": 3, "batch_size": 8},
    )
    result = execute(chosen, tmp_path / "run", reporters=[heard])
    assert [alarm.code for alarm in result.alarms][:3] == ["few-rows", "small-batch", "far-target"]
    assert [(0, alarm.code, alarm.message) for alarm in result.alarms[:3]] == heard.alarms[:3]
    assert read_result(tmp_path / "run").alarms == result.alarms
    log = (tmp_path / "run" / "log.txt").read_text()
    assert all(f" ALARM {alarm.code}: {alarm.message}\n" in log for alarm in result.alarms)


def test_a_test_part_of_one_row_is_not_shown_without_a_word(tmp_path, datk):
    rows = ["--set", "pair.source_rows=150", "--set", "pair.target_rows=6", "--set", "data.target_rows=split"]
    options = ["--backbone", "mlp", "--align", "none", "--epochs", "1", "--out", tmp_path / "run"]
    done = datk("run", "--pair", TOYS + "Toy", *rows, *options)
    assert done.code == 0
    assert "ALARM few-rows: " in done.err
    assert " ALARM few-rows " in done.out
    assert "target test 1;" in " ".join(done.out.split())


def rows_of(share, rows, seed):
    """Rows of two classes that a line parts, with the share of the second."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < share).astype(np.int64)
    return (rng.normal(size=(rows, 5)) + 1.5 * labels[:, None]).astype(np.float32), labels


@pytest.mark.parametrize("align", ["none", "mmd"])
@pytest.mark.parametrize(("share", "raised"), [(0.54, []), (0.1, ["label-shift"])])
def test_a_run_without_signs_raises_none_and_one_with_other_shares_does(tmp_path, align, share, raised):
    (x, y), (t, answers) = rows_of(0.54, 600, 0), rows_of(share, 600, 1)
    arrays = {"source_x": x, "source_y": y, "target_x": t, "target_y": answers}
    heard = Heard()
    chosen = experiment(
        pair={"name": "arrays", **arrays}, align=align, train={"epochs": 15, "batch_size": 64, "lr": 0.01}
    )
    result = execute(chosen, tmp_path / "run", reporters=[heard])
    assert codes(result.alarms) == raised
    assert sum(result.predicted_shares.values()) == pytest.approx(1)
    if raised:
        ((epoch, code, _),) = heard.alarms
        assert (epoch, code) == (15 if align == "none" else 3, "label-shift")
        assert result.predicted_shares["1"] < 0.3


def test_results_of_earlier_versions_have_no_alarms(tmp_path):
    execute(experiment(train={"epochs": 1}), tmp_path / "run")
    file = tmp_path / "run" / "result.json"
    recorded = json.loads(file.read_text())
    assert recorded["alarms"]
    for key in ("alarms", "pulls", "information", "predicted_shares"):
        del recorded[key]
    file.write_text(json.dumps(recorded))
    assert read_result(tmp_path / "run").alarms == []
