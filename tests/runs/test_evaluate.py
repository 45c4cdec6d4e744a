"""Scores of a trained network; the only place that reads target labels."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

import datk
from datk.base.errors import DataError, RunError
from datk.config.models import DataConfig, TrainConfig
from datk.config.resolve import resolve
from datk.data.dataset import prepare
from datk.runs.evaluate import evaluate
from datk.training.objective import Objective
from datk.training.predict import predict
from datk_tasks.metrics import score, softmax

TOY = f"{Path(__file__).with_name('toys.py')}:Toy"


def prepared(**options):
    config = {
        "pair": {"name": TOY, "shape": [2, 16, 16], **options},
        "backbone": "deepmerge",
        "align": "none",
    }
    chosen = resolve(config=config)
    data = prepare(chosen.pair.cls(chosen.pair.config), DataConfig(), TrainConfig(), 0, torch.device("cpu"))
    return Objective(chosen, data.info, 1, 1, 0).backbone, data


def test_every_number_belongs_to_its_rows():
    backbone, data = prepared()
    found = evaluate(backbone, data)
    assert set(found) == {"source", "target"}
    assert set(found["source"]) == {"validation", "test"}
    assert set(found["target"]) == {"test"}
    source, target = data.training.source, data.training.target
    for metrics, domain, rows, labels in [
        (found["source"]["validation"], source, source.split.validation, data.pair.source_labels),
        (found["source"]["test"], source, source.split.test, data.pair.source_labels),
        (found["target"]["test"], target, target.split.test, data.pair.answers(np.arange(50))),
    ]:
        assert metrics == score(softmax(predict(backbone, domain, rows)), labels[rows])
        assert metrics["n"] == len(rows)


def test_a_target_without_labels_has_no_scores(tmp_path):
    backbone, data = prepared(labelled=False)
    assert evaluate(backbone, data)["target"] == {}
    result = datk.run(
        pair={"name": TOY, "labelled": False},
        backbone="mlp",
        align="mmd",
        epochs=1,
        device="cpu",
        out=tmp_path / "run",
    )
    assert result.metrics["target"] == {}
    assert result.notes == ["toy data", "the target has no labels: nothing on the target could be scored"]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (lambda rows: np.full(len(rows), 2), r"target: labels must lie in 0\.\.1"),
        (lambda rows: np.full(len(rows), -1), r"target: labels must lie in 0\.\.1"),
        (lambda rows: np.zeros(3, dtype=int), r"target: 10 test rows but labels of shape \[3\]"),
    ],
)
def test_answers_that_cannot_be_are_refused(answers, message):
    backbone, data = prepared()
    data.pair.answers = answers
    with pytest.raises(DataError, match=message):
        evaluate(backbone, data)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_outputs_that_are_not_finite_are_told(wrong):
    backbone, data = prepared()
    standardize = data.training.target.standardize
    standardize.mean[0] = wrong
    with pytest.raises(RunError, match=r"output is not finite for 10 of 10 rows of the target"):
        evaluate(backbone, data)


def test_one_class_only_in_the_test_split(tmp_path):
    backbone, data = prepared()
    data.pair.answers = np.zeros_like
    found = evaluate(backbone, data)["target"]["test"]
    assert found["auc"] is None
    assert 0 <= found["accuracy"] <= 1


@pytest.mark.parametrize("classes", [3, 5])
def test_more_than_two_classes(classes, tmp_path):
    result = datk.run(
        pair={"name": TOY, "classes": classes, "source_rows": 100, "target_rows": 100},
        backbone="mlp",
        align="mmd",
        reg=["fisher", "entropy"],
        epochs=15,
        device="cpu",
        out=tmp_path / "run",
        set={"train.batch_size": 32, "train.lr": 0.01},
    )
    for metrics in (result.metrics["source"]["test"], result.metrics["target"]["test"]):
        assert metrics["accuracy"] > 1.5 / classes
        assert metrics["auc"] > 0.6


def test_nothing_else_in_datk_asks_for_answers():
    readers = {
        path.name
        for path in Path(datk.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "answers"
    }
    assert readers - {"testing.py"} == {"evaluate.py"}
