"""Scores of a trained network; the only place that reads target labels."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

import datk
from datk.base.errors import DataError, RunError
from datk.runs.evaluate import evaluate
from datk.training.predict import predict
from datk_tasks.metrics import score, softmax
from tests import build
from tests.build import run


def prepared(shape=(2, 16, 16), backbone="deepmerge", **options):
    pair = {"name": build.TOYS + "Toy", "shape": list(shape), **options}
    chosen = build.experiment(pair=pair, backbone=backbone)
    data = build.dataset(chosen)
    return build.objective(chosen, data.info).backbone, data


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
    result = run(tmp_path / "run", "mmd", pair={"labelled": False}, epochs=1)
    assert result.metrics["target"] == {}
    assert result.notes == ["toy data", "the target has no labels: nothing on the target could be scored"]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (lambda rows: np.full(len(rows), 2), r"target: labels must lie in 0\.\.1"),
        (lambda rows: np.full(len(rows), -1), r"target: labels must lie in 0\.\.1"),
        (lambda rows: np.zeros(3, dtype=int), r"target: 10 rows but labels of shape \[3\]"),
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
    pair = {"classes": classes, "source_rows": 100, "target_rows": 100}
    result = run(tmp_path / "run", "mmd", ["fisher", "entropy"], pair=pair, epochs=15, batch_size=32, lr=0.01)
    for metrics in (result.metrics["source"]["test"], result.metrics["target"]["test"]):
        assert metrics["accuracy"] > 1.5 / classes
        assert metrics["auc"] > 0.6


def test_each_of_several_sources_has_scores_of_its_own(tmp_path):
    pair = {"sources": 3, "source_rows": 120}
    result = run(tmp_path / "run", "mmd", pair=pair)
    names = [f"source: telescope {number}" for number in range(3)]
    assert set(result.metrics) == {"source", "target", *names}
    backbone, data = prepared((6,), "mlp", **pair)
    found = evaluate(backbone, data)
    source, numbers = data.training.source, data.pair.source.domain
    for part, rows in (("validation", source.split.validation), ("test", source.split.test)):
        logits = predict(backbone, source, rows)
        for number in range(3):
            own = numbers[rows] == number
            expected = score(softmax(logits[own]), data.pair.source_labels[rows][own])
            assert found[f"source: telescope {number}"][part] == expected
            assert expected["n"] > 0
        assert sum(found[f"source: telescope {number}"][part]["n"] for number in range(3)) == len(rows)


def test_a_source_without_rows_in_a_part_has_no_scores_there():
    backbone, data = prepared((6,), "mlp", sources=2)
    source = data.training.source
    source.numbers[source.split.validation] = 0
    found = evaluate(backbone, data)
    assert set(found["source: telescope 0"]) == {"validation", "test"}
    assert set(found["source: telescope 1"]) == {"test"}


def test_the_pair_is_asked_for_answers_in_the_order_of_its_file(tmp_path, monkeypatch):
    """As HDF5 wants it, whatever the order of the rows that a selector sees."""
    pair_of = build.experiment().pair.cls
    asked = []

    def answers(self, rows, original=pair_of.answers):
        asked.append(rows)
        return original(self, rows)

    monkeypatch.setattr(pair_of, "answers", answers)
    run(tmp_path / "run", select="oracle")
    assert len(asked) == 2
    assert all((np.diff(rows) > 0).all() for rows in asked)


def test_nothing_else_in_datk_asks_for_answers():
    folder = Path(datk.__file__).parent
    readers = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "answers"
    }
    inside = {reader for reader in readers if not reader.startswith("testing")}
    assert inside == {"runs/evaluate.py", "runs/oracle.py"}
