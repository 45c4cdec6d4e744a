"""Which epoch is kept, and when training stops early."""

import json
import math

import numpy as np
import pytest
import torch

import datk
from datk.base.errors import ConfigError, PluginError
from datk.config import plugins
from datk.runs import evaluate
from datk.training.checkpoints import Checkpoints
from datk.training.selection import Selection
from tests import build
from tests.toys import TOYS

TOY = {"name": TOYS + "Toy"}
QUICK = {
    "train.batch_size": 16,
    "train.schedule": "constant",
    "data.target_rows": "split",
    "device": "cpu",
}
NAN, INF = math.nan, math.inf


def run(out, select, epochs=4, pair=None, resume=False, data=(), **train):
    options = {f"train.{key}": value for key, value in train.items()}
    options |= {f"data.{key}": value for key, value in dict(data).items()}
    return datk.run(
        pair={**TOY, **(pair or {})},
        backbone="mlp",
        align="mmd",
        epochs=epochs,
        out=out,
        resume=resume,
        set={**QUICK, "train.select": select, **options},
    )


def toy(name):
    return plugins.load(plugins.resolve("selector", TOYS + name))


# --- the best epoch ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "latest", "flags"),
    [
        ([0.5, 0.7, 0.7, 0.6], False, [True, True, False, False]),
        ([0.5, 0.7, 0.7, 0.6], True, [True, True, True, False]),
        ([INF, INF, INF], True, [True, True, True]),
        ([INF, INF, INF], False, [True, False, False]),
        ([NAN, NAN, -5.0, NAN, -6.0, -4.0], False, [True, False, True, False, False, True]),
        ([NAN, NAN, -5.0, NAN, -5.0], True, [True, False, True, False, True]),
        ([NAN, -INF, NAN], True, [True, True, False]),
        ([-INF, 0.0], False, [True, True]),
    ],
)
def test_the_largest_score_is_kept(scores, latest, flags):
    selection = Selection("rule")
    seen = [selection.improves(score, epoch, latest) for epoch, score in enumerate(scores, start=1)]
    assert seen == flags
    best = max(epoch for epoch, flag in enumerate(flags, start=1) if flag)
    assert selection.epoch == best
    assert selection.epochs_without_improvement(len(scores)) == len(scores) - best


@pytest.mark.parametrize(
    ("scores", "epoch"), [([1.0, NAN, 3.0, 2.0], 3), ([NAN, NAN, NAN, NAN], 1), ([NAN, NAN, 0.0, NAN], 3)]
)
def test_an_epoch_without_a_score_is_the_worst(scores, epoch, tmp_path, monkeypatch):
    monkeypatch.setattr(toy("Scripted"), "scores", list(scores))
    result = run(tmp_path / "run", TOYS + "Scripted", patience=0)
    assert (result.epochs, result.selected_epoch) == (4, epoch)


# --- selectors -----------------------------------------------------------------------------------------


def records(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "epoch"]


@pytest.mark.parametrize(
    ("name", "column", "best"),
    [
        ("source-validation-loss", "validation_loss", min),
        ("source-validation-accuracy", "validation_accuracy", max),
        ("last", "epoch", max),
    ],
)
def test_shipped_selectors(name, column, best, tmp_path):
    result = run(tmp_path / "run", name, epochs=8, lr=0.1)
    seen = [record[column] for record in records(tmp_path / "run")]
    assert seen.index(best(seen)) + 1 == result.selected_epoch
    assert result.selected_by == name
    assert result.uses_target_labels is False
    assert not any("oracle" in note for note in result.notes)


def test_a_selector_of_a_file_sees_the_validation_rows_and_no_answers(tmp_path, monkeypatch):
    certain = toy("Certain")
    monkeypatch.setattr(certain, "shown", [])
    result = run(tmp_path / "run", TOYS + "Certain", epochs=3)
    assert (result.selected_by, result.uses_target_labels) == ("Certain", False)
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())["train"]["select"]
    assert recorded == TOYS + "Certain"
    scores = [float(t.logits.softmax(1).square().sum(1).mean()) for _, t in certain.shown]
    assert scores.index(max(scores)) + 1 == result.selected_epoch

    data = build.dataset(build.experiment(pair=TOY))
    source, target = data.training.source.split.validation, data.training.target.split.validation
    for of_source, of_target in certain.shown:
        assert of_source.logits.shape == (len(source), 2)
        assert of_target.logits.shape == (len(target), 2)
        assert of_source.features.shape == (len(source), 64)
        assert of_target.features.shape == (len(target), 64)
        assert of_target.labels is None
        np.testing.assert_array_equal(of_source.labels, data.pair.source_labels[source])
        assert all(t.device.type == "cpu" for t in (*of_source, of_target.features, of_target.logits))


def test_a_selector_has_options(tmp_path):
    (tmp_path / "choice.py").write_text(
        "from datk.interfaces import ComponentConfig, Selector\n"
        "class First(Selector):\n"
        "    class Config(ComponentConfig):\n"
        "        epoch: int = 1\n"
        "    seen = 0\n"
        "    def score(self, source, target):\n"
        "        self.seen += 1\n"
        "        return float(self.seen == self.config.epoch)\n"
    )
    select = {"name": f"{tmp_path / 'choice.py'}:First", "epoch": 3}
    assert run(tmp_path / "run", select).selected_epoch == 3
    with pytest.raises(ConfigError, match=r"train\.select\.epock"):
        run(tmp_path / "other", {**select, "epock": 3})


@pytest.mark.parametrize("select", ["source-validation-accuracy", TOYS + "Certain", "oracle"])
def test_a_selection_goes_on_where_it_was(select, tmp_path):
    whole = run(tmp_path / "whole", select, epochs=6, lr=0.3)

    def stopped(self, record, original=Checkpoints.append_metrics):
        original(self, record)
        if record["kind"] == "epoch" and record["epoch"] == 4:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "append_metrics", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "run", select, epochs=6, lr=0.3)
    resumed = run(tmp_path / "run", select, epochs=6, lr=0.3, resume=True)
    assert resumed.selected_epoch == whole.selected_epoch
    assert resumed.weights_sha256 == whole.weights_sha256
    flags = [[record["selected"] for record in records(tmp_path / name)] for name in ("run", "whole")]
    assert flags[0] == flags[1]


# --- the oracle ----------------------------------------------------------------------------------------


def test_the_oracle_keeps_the_best_epoch_of_the_target_and_says_so(tmp_path, monkeypatch):
    """Its score is recomputed from each epoch's predictions and the pair's answers."""
    seen = []
    oracle = plugins.load(plugins.resolve("selector", "oracle"))

    def watched(self, source, target, original=oracle.score):
        seen.append((original(self, source, target), target.logits.argmax(dim=1)))
        return seen[-1][0]

    monkeypatch.setattr(oracle, "score", watched)
    pair = {"target_rows": 200, "shift": 3.0, "permute_answers": 1}
    result = run(tmp_path / "run", "oracle", epochs=8, pair=pair, lr=0.05, patience=0)
    data = build.dataset(build.experiment(pair={**TOY, **pair}))
    answers = torch.from_numpy(data.pair.answers(np.arange(200))[data.training.target.split.validation])
    expected = [float((predicted == answers).double().mean()) for _, predicted in seen]
    assert [score for score, _ in seen] == expected
    assert len(set(expected)) > 1
    assert expected.index(max(expected)) + 1 == result.selected_epoch
    assert (result.selected_by, result.uses_target_labels) == ("oracle", True)
    (note,) = [note for note in result.notes if "oracle" in note]
    assert note == "the epoch was chosen with target labels (oracle): an upper bound, no method"
    assert note in (tmp_path / "run" / "log.txt").read_text()
    stored = json.loads((tmp_path / "run" / "result.json").read_text())
    assert stored["uses_target_labels"] is True


def test_an_oracle_that_chooses_by_the_rows_it_is_scored_on_says_so(tmp_path):
    result = run(tmp_path / "run", "oracle", epochs=1, data={"target_rows": "all"})
    (note,) = [note for note in result.notes if "oracle" in note]
    assert "target labels, those of the rows that are scored (oracle)" in note


def test_only_the_oracle_looks_at_the_answers_before_the_end(tmp_path, monkeypatch):
    """Other answers, another epoch; with any other selector nobody asks for those of validation rows."""
    asked = []

    def told(dataset, rows, original=evaluate._told):
        asked.append(rows)
        return original(dataset, rows)

    monkeypatch.setattr(evaluate, "_told", told)
    split = build.dataset(build.experiment(pair=TOY)).training.target.split
    for select, parts in [("source-validation-loss", ["test"]), ("oracle", ["validation", "test"])]:
        asked.clear()
        run(tmp_path / select, select, epochs=1)
        for rows, part in zip(asked, parts, strict=True):
            np.testing.assert_array_equal(rows, getattr(split, part))


def test_no_heir_of_the_oracle_is_given_answers(tmp_path):
    with pytest.raises(PluginError, match=r"Peeking is given no target labels; only train\.select=oracle is"):
        run(tmp_path / "run", TOYS + "Peeking")
    assert not (tmp_path / "run" / "result.json").exists()


def test_an_oracle_without_answers_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(
        ConfigError, match=r"^train\.select=oracle needs target labels, and this pair has none"
    ):
        run(tmp_path / "run", "oracle", pair={"labelled": False})
    assert not (tmp_path / "run").exists()


# --- when training stops -------------------------------------------------------------------------------


def test_patience_counts_epochs_since_the_best(tmp_path):
    """A learning rate of nothing: the accuracy of the first epoch is never bettered."""
    result = datk.run(
        pair=TOY,
        backbone="mlp",
        align="none",
        epochs=9,
        out=tmp_path / "run",
        set={**QUICK, "train.lr": 1e-12, "train.patience": 3, "train.select": "source-validation-accuracy"},
    )
    assert (result.epochs, result.selected_epoch) == (4, 1)
    assert "stopped early: 3 epochs without a better one" in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.parametrize("change", [{"train.patience": 0}, {"train.select": "last", "train.patience": 1}])
def test_training_can_go_on_to_the_end(change, tmp_path):
    options = {"train.lr": 1e-12, "train.select": "source-validation-accuracy", **change}
    result = datk.run(
        pair=TOY, backbone="mlp", align="none", epochs=5, out=tmp_path / "run", set={**QUICK, **options}
    )
    assert result.epochs == 5


def test_the_weights_of_the_chosen_epoch_are_kept(tmp_path):
    """A learning rate that is far too high: the first epochs are better than the last."""

    def run(epochs, select):
        return datk.run(
            pair={**TOY, "shift": 0.0},
            backbone="mlp",
            align="none",
            epochs=epochs,
            seed=2,
            out=tmp_path / f"{select}-{epochs}",
            set={**QUICK, "train.lr": 0.3, "train.select": select},
        )

    chosen = run(6, "source-validation-loss")
    assert chosen.selected_epoch < 6
    assert chosen.weights_sha256 == run(chosen.selected_epoch, "last").weights_sha256
    assert chosen.weights_sha256 != run(6, "last").weights_sha256
