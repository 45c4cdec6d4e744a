"""Target labels cannot reach training: not by value, not by reference, not by type."""

import dataclasses
import gc
import inspect
import types
from pathlib import Path

import numpy as np
import pytest
import torch

import datk
from datk import interfaces
from datk.config import plugins
from datk.data.dataset import Dataset, TrainingData
from datk.interfaces import DomainPair, Phase, SourceBatch, SourceView, TargetBatch, TargetView
from datk.runs import session
from datk.training.loop import Trainer

TOYS = f"{Path(__file__).with_name('toys.py')}:"
ALIGNMENTS = [plugin.name for plugin in plugins.find("alignment")]
REGULARIZERS = [plugin.name for plugin in plugins.find("regularizer")]


def run(out, permutation, align, reg, **pair):
    return datk.run(
        pair={"name": TOYS + "Toy", "shape": [2, 16, 16], "permute_answers": permutation, **pair},
        backbone="deepmerge",
        align=align,
        reg=reg,
        epochs=2,
        device="cpu",
        out=out / f"{permutation}-{pair.get('labelled', True)}",
        set={
            "train.batch_size": 16,
            "train.augment": "dihedral",
            "train.select": "source-validation-accuracy",
        },
    )


def check_same_training(results):
    assert len({result.weights_sha256 for result in results}) == 1
    assert len({result.selected_epoch for result in results}) == 1
    assert len({result.data_sha256 for result in results}) == 1
    sources = [result.metrics["source"] for result in results]
    assert all(source == sources[0] for source in sources)
    assert len({(result.folder / "splits.npz").read_bytes() for result in results}) == 1
    losses = [
        [
            line.partition('"seconds"')[0]
            for line in (result.folder / "metrics.jsonl").read_text().splitlines()
        ]
        for result in results
    ]
    assert all(lines == losses[0] for lines in losses)


@pytest.mark.parametrize("align", ALIGNMENTS)
def test_other_answers_give_the_same_weights(align, tmp_path):
    """Whatever alignment is installed."""
    results = [run(tmp_path, permutation, align, []) for permutation in (None, 1, 2)]
    results.append(run(tmp_path, 3, align, [], labelled=False))
    check_same_training(results)
    scores = [result.metrics["target"]["test"]["brier"] for result in results[:3]]
    assert len(set(scores)) > 1
    assert results[3].metrics["target"] == {}


@pytest.mark.parametrize("reg", REGULARIZERS)
def test_other_answers_give_the_same_weights_with_every_regularizer(reg, tmp_path):
    results = [run(tmp_path, permutation, "mmd", [reg]) for permutation in (None, 1)]
    check_same_training(results)


def test_other_answers_give_the_same_weights_with_everything_at_once(tmp_path):
    terms = {name: {} for name in ALIGNMENTS if plugins_phases(name) == (Phase(),)}
    results = [
        run(tmp_path, permutation, {**terms, TOYS + "Centroid": {}}, [*REGULARIZERS, TOYS + "Teacher"])
        for permutation in (None, 1)
    ]
    check_same_training(results)
    assert results[0].metrics["target"] != results[1].metrics["target"]


def plugins_phases(name):
    return plugins.load(plugins.resolve("alignment", name)).phases


# --- no way from training to the answers ---------------------------------------------------------------


def reachable(start):
    """Everything that can be reached from an object, but through modules and classes."""
    skipped = (types.ModuleType, type)
    seen, queue = {}, [start]
    while queue:
        item = queue.pop()
        if id(item) in seen or isinstance(item, skipped):
            continue
        seen[id(item)] = item
        if isinstance(item, types.FunctionType):  # what it closes over, but not the globals of its module
            queue += [item.__closure__, item.__defaults__, item.__kwdefaults__]
        elif isinstance(item, types.FrameType):
            queue += item.f_locals.values()
        else:
            queue += gc.get_referents(item)
    return list(seen.values())


def answers_in(items, answers):
    """Arrays and tensors that hold the answers to all rows or to those of a part."""
    arrays = [item.detach().numpy() if isinstance(item, torch.Tensor) else item for item in items]
    return [
        array
        for array in arrays
        if isinstance(array, np.ndarray)
        and any(array.size == part.size and np.array_equal(array.ravel(), part) for part in answers)
    ]


@pytest.fixture
def caught(monkeypatch, tmp_path):
    """A trainer as a run makes it, with the data set it was made from."""
    found = {}

    class Spy(Trainer):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            found["trainer"] = self

    def prepared(*arguments, original=session.prepare):
        found["dataset"] = original(*arguments)
        return found["dataset"]

    monkeypatch.setattr(session, "Trainer", Spy)
    monkeypatch.setattr(session, "prepare", prepared)
    datk.run(
        pair={"name": TOYS + "Toy", "permute_answers": 5},
        backbone="mlp",
        align=TOYS + "Discrepancy",
        reg=["fisher"],
        epochs=1,
        device="cpu",
        out=tmp_path / "run",
    )
    return found


def test_nothing_that_training_holds_leads_to_the_answers(caught):
    dataset, trainer = caught["dataset"], caught["trainer"]
    split = dataset.splits.target
    answers = [
        dataset.pair.answers(rows) for rows in (np.arange(50), split.train, split.validation, split.test)
    ]
    # A walk that found nothing anywhere would prove nothing.
    everything = reachable(dataset)
    assert any(item is dataset.pair for item in everything)
    assert answers_in(everything, answers[:1])
    assert any(item is trainer.data for item in reachable(trainer))

    batches = dataset.training.batches(0)
    in_order = dataset.training.target_in_order()
    for part in (trainer, dataset.training, batches, next(batches), in_order, next(in_order)):
        items = reachable(part)
        assert len(items) >= 3
        assert not [item for item in items if isinstance(item, DomainPair | Dataset)]
        assert not answers_in(items, answers)


def test_the_types_have_no_place_for_answers():
    def fields(cls):
        return {field.name for field in dataclasses.fields(cls)}

    assert fields(SourceBatch) - fields(TargetBatch) == {"y"}
    assert fields(SourceView) - fields(TargetView) == {"labels"}
    assert fields(TargetBatch) == {"x", "index"}
    assert fields(TargetView) == {"x", "index", "features", "logits", "layers", "shared"}
    assert not hasattr(interfaces.TargetBatch(torch.zeros(1), torch.zeros(1)), "__dict__")


def test_training_takes_no_pair():
    for function in (Trainer.__init__, Trainer.fit, TrainingData.__init__):
        taken = inspect.get_annotations(function, eval_str=True).values()
        assert not {DomainPair, Dataset} & set(taken)
    assert "answers" not in {name for name in dir(TrainingData) if not name.startswith("__")}
