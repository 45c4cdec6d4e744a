"""Target labels cannot reach training: not by value, not by reference, not by type."""

import dataclasses
import gc
import inspect
import types
from collections.abc import Iterable

import numpy as np
import pytest
import torch

import datk
from datk.config import plugins
from datk.data import dataset
from datk.data.dataset import Dataset, TrainingData
from datk.interfaces import (
    AlignmentLoss,
    DomainPair,
    EpochRows,
    LossTerm,
    Outputs,
    SourceBatch,
    SourceView,
    TargetBatch,
    TargetView,
)
from datk.runs import run as runs
from datk.training.contracts import SOLE
from datk.training.loop import Trainer
from tests import build
from tests.toy_methods import METHODS
from tests.toys import TOYS

ALIGNMENTS = [plugin.name for plugin in plugins.find("alignment") if plugin.name != "auto"]
"""All but the one that trains others, for which see `tests/runs/test_auto.py`."""
REGULARIZERS = [plugin.name for plugin in plugins.find("regularizer")]
ACTING = {
    "sidda": {"warmup": 0},
    "fixmatch": {"threshold": 0.0},
    "mean-teacher": {"threshold": 0.0},
}
"""Options with which a component does something from the first of a few steps on."""


def loaded(kind, name):
    return plugins.load(plugins.resolve(kind, name))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that others can start from."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    datk.run(
        pair={"name": TOYS + "Toy", "shape": [2, 16, 16]}, backbone="deepmerge", align="none", epochs=1,
        device="cpu", out=folder,
    )  # fmt: skip
    return folder


@pytest.fixture
def run(tmp_path, trained):
    """Trains with terms by name; those that need weights start from those of `trained`."""
    number = 0

    def run(align, reg=(), epochs=2, **pair):
        nonlocal number
        number += 1
        terms = {
            kind: {name: ACTING.get(name, {}) for name in ([names] if isinstance(names, str) else names)}
            for kind, names in (("alignment", align), ("regularizer", reg))
        }
        needs = any(loaded(kind, name).needs_init for kind, names in terms.items() for name in names)
        return datk.run(
            pair={"name": TOYS + "Toy", "shape": [2, 16, 16], **pair},
            backbone="deepmerge",
            align=terms["alignment"],
            reg=terms["regularizer"] or "none",
            epochs=epochs,
            device="cpu",
            init=trained if needs else None,
            out=tmp_path / f"run{number}",
            set={
                "train.batch_size": 16,
                "train.augment": "dihedral",
                "train.select": "source-validation-accuracy",
            },
        )

    return run


# --- other answers -------------------------------------------------------------------------------------


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
    for lines in losses[1:]:
        assert lines == losses[0]


@pytest.mark.parametrize("align", ALIGNMENTS)
def test_other_answers_give_the_same_weights(align, run):
    """Whatever alignment is installed."""
    results = [run(align, permute_answers=permutation) for permutation in (None, 1, 2)]
    results.append(run(align, labelled=False))
    check_same_training(results)
    scores = [result.metrics["target"]["test"]["brier"] for result in results[:3]]
    assert len(set(scores)) > 1
    assert results[3].metrics["target"] == {}


@pytest.mark.parametrize("reg", REGULARIZERS)
def test_other_answers_give_the_same_weights_with_every_regularizer(reg, run):
    check_same_training([run("mmd", [reg], permute_answers=permutation) for permutation in (None, 1)])


def together():
    """As many of the installed alignments as can be in one run: one with phases at most, and one that decides
    for all of them."""
    chosen, decided = [], set()
    for name in ALIGNMENTS:
        cls = loaded("alignment", name)
        decides = {method for method in SOLE if getattr(cls, method) is not getattr(LossTerm, method)}
        if cls.phases == AlignmentLoss.phases and not decides & decided:
            chosen.append(name)
            decided |= decides
    return chosen


def test_other_answers_give_the_same_weights_with_everything_at_once(run):
    align = [*together(), TOYS + "Centroid"]
    assert len(align) >= 8
    reg = [*REGULARIZERS, TOYS + "Teacher", METHODS + "Consistency"]
    results = [run(align, reg, permute_answers=permutation) for permutation in (None, 1)]
    check_same_training(results)
    assert results[0].metrics["target"] != results[1].metrics["target"]


# --- the order of the file -----------------------------------------------------------------------------


def place_when_sorted(classes=2, rows=50):
    """Where each row of the toy's target comes to lie when its file is sorted by class."""
    return np.argsort(np.argsort(np.arange(rows) % classes, kind="stable"))


@pytest.fixture
def same_rows(monkeypatch):
    """Lets the split of a sorted file hold the very rows of that of the shuffled one, in the same order."""

    def split_by_content(*arguments, original=dataset.split_pair):
        splits = original(*arguments)
        place = place_when_sorted()
        moved = [place[getattr(splits.target, part)] for part in ("train", "validation", "test")]
        return dataclasses.replace(splits, target=type(splits.target)(*moved))

    def patch():
        monkeypatch.setattr(dataset, "split_pair", split_by_content)

    return patch


def check_same_when_sorted(run, same_rows, align, reg=()):
    shuffled = run(align, reg)
    same_rows()
    by_class = run(align, reg, sorted_target=True)
    assert by_class.data_sha256 != shuffled.data_sha256
    assert by_class.weights_sha256 == shuffled.weights_sha256
    assert by_class.selected_epoch == shuffled.selected_epoch
    assert by_class.metrics == shuffled.metrics


@pytest.mark.parametrize(
    "align",
    [
        *ALIGNMENTS,
        *(TOYS + name for name in ("Centroid",)),
        *(METHODS + name for name in ("GuessByIndex", "GuessByOrder", "Reading")),
    ],
    ids=lambda name: name.rpartition(":")[2],
)
def test_a_file_sorted_by_class_gives_the_same_weights(align, run, same_rows):
    """Rows are matched by content, so that nothing but their order in the file differs."""
    check_same_when_sorted(run, same_rows, align)


@pytest.mark.parametrize("reg", REGULARIZERS)
def test_a_file_sorted_by_class_gives_the_same_weights_with_every_regularizer(reg, run, same_rows):
    check_same_when_sorted(run, same_rows, "mmd", [reg])


def test_the_places_are_those_of_the_sorted_file():
    plain, by_class = (
        build.dataset(build.experiment(pair={"name": TOYS + "Toy", "sorted_target": flag})).pair
        for flag in (False, True)
    )
    place = place_when_sorted()
    np.testing.assert_array_equal(by_class.target.x[place], plain.target.x)
    assert (np.diff(by_class.answers(np.arange(50))) >= 0).all()
    assert not np.array_equal(place, np.arange(50))


@pytest.mark.parametrize("numbered", [True, False], ids=["numbered", "not numbered"])
@pytest.mark.parametrize("part", ["train", "validation"])
def test_the_place_of_a_row_tells_nothing_of_its_class(part, numbered, monkeypatch):
    """If rows had the numbers that they have in the file, three classes could be told almost surely."""
    if not numbered:
        monkeypatch.setattr(dataset, "numbered", lambda split, seed, domain: split)
    agreeing = []
    for seed in range(5):
        pair = {"name": TOYS + "Toy", "sorted_target": True, "classes": 3, "target_rows": 900}
        data = build.dataset(build.experiment(pair=pair, seed=seed))
        rows = getattr(data.training.target.split, part)
        guessed = np.arange(len(rows)) * 3 // len(rows)
        agreeing += (data.pair.answers(rows) == guessed).tolist()
    share = np.mean(agreeing)
    if numbered:
        assert abs(share - 1 / 3) < 4 * (2 / 9 / len(agreeing)) ** 0.5
    else:
        assert share > 0.9


@pytest.mark.parametrize("cheat", ["GuessByIndex", "GuessByOrder"])
def test_who_takes_a_place_for_a_label_is_no_better_than_chance(cheat, tmp_path, monkeypatch):
    """In the target the classes have changed names, so that honest methods get them wrong."""
    pair = {"sorted_target": True, "renamed": True, "shape": [20], "source_rows": 200, "target_rows": 400}

    def accuracy(name):
        result = build.run(tmp_path / name, METHODS + cheat, pair=pair, epochs=5, lr=0.01, select="last")
        return result.metrics["target"]["test"]["accuracy"]

    assert accuracy("numbered") < 0.55
    monkeypatch.setattr(dataset, "numbered", lambda split, seed, domain: split)
    assert accuracy("by place") > 0.9


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
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            found["trainer"] = self

    def prepared(*arguments, original=runs.prepare):
        found["dataset"] = original(*arguments)
        return found["dataset"]

    monkeypatch.setattr(runs, "Trainer", Spy)
    monkeypatch.setattr(runs, "prepare", prepared)
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
    prepared, trainer = caught["dataset"], caught["trainer"]
    split = prepared.training.target.split
    answers = [
        prepared.pair.answers(rows) for rows in (np.arange(50), split.train, split.validation, split.test)
    ]
    # A walk that found nothing anywhere would prove nothing.
    everything = reachable(prepared)
    assert any(item is prepared.pair for item in everything)
    assert answers_in(everything, answers[:1])
    assert any(item is trainer.data for item in reachable(trainer))

    batches, rows = prepared.training.batches(0), prepared.training.in_order()
    in_order = iter(rows.target)
    for part in (trainer, prepared.training, batches, next(batches), rows, in_order, next(in_order)):
        items = reachable(part)
        assert len(items) >= 3
        assert not [item for item in items if isinstance(item, DomainPair | Dataset)]
        assert not answers_in(items, answers)


def test_the_types_have_no_place_for_answers():
    def fields(cls):
        return {field.name for field in dataclasses.fields(cls)}

    assert fields(SourceBatch) - fields(TargetBatch) == {"y"}
    assert fields(SourceView) - fields(TargetView) == {"labels", "weights"}
    assert fields(TargetBatch) == {"x", "index", "domain"}
    assert fields(TargetView) == {"x", "index", "domain", "features", "logits", "layers", "shared"}
    assert inspect.get_annotations(EpochRows, eval_str=True)["target"] == Iterable[TargetBatch]
    assert not hasattr(TargetBatch(*torch.zeros(3)), "__dict__")
    assert set(Outputs._fields) == {"features", "logits", "labels"}  # the last is None, see test_selection


def test_training_takes_no_pair():
    for function in (Trainer.__init__, Trainer.fit, TrainingData.__init__):
        taken = inspect.get_annotations(function, eval_str=True).values()
        assert not {DomainPair, Dataset} & set(taken)
    assert "answers" not in {name for name in dir(TrainingData) if not name.startswith("__")}
