"""Which epoch is kept, and when training stops early."""

from pathlib import Path

import pytest

import datk
from datk.training.selection import RULES, Selection

TOY = {"name": f"{Path(__file__).with_name('toys.py')}:Toy"}
QUICK = {"train.batch_size": 16, "train.schedule": "constant", "device": "cpu"}


def kept(rule, losses, accuracies):
    selection = Selection(rule)
    flags = [
        selection.improves({"epoch": k, "validation_loss": loss, "validation_accuracy": accuracy})
        for k, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True), start=1)
    ]
    return flags, selection


@pytest.mark.parametrize(
    ("rule", "flags", "epoch"),
    [
        ("source-validation-loss", [True, True, False, False], 2),
        ("source-validation-accuracy", [True, False, True, False], 3),
        ("last", [True, True, True, True], 4),
    ],
)
def test_rules(rule, flags, epoch):
    seen, selection = kept(rule, [0.5, 0.3, 0.3, 0.4], [0.7, 0.6, 0.9, 0.9])
    assert seen == flags
    assert selection.epoch == epoch
    assert selection.epochs_without_improvement(4) == 4 - epoch


def test_no_rule_looks_at_the_target():
    assert {key for key, _ in RULES.values()} == {"validation_loss", "validation_accuracy", "epoch"}


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
    assert (
        "stopped early: 3 epochs without a better source-validation-accuracy"
        in (tmp_path / "run" / "log.txt").read_text()
    )


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
            out=tmp_path / f"{select}-{epochs}",
            set={**QUICK, "train.lr": 0.3, "train.select": select},
        )

    chosen = run(6, "source-validation-loss")
    assert chosen.selected_epoch < 6
    assert chosen.weights_sha256 == run(chosen.selected_epoch, "last").weights_sha256
    assert chosen.weights_sha256 != run(6, "last").weights_sha256
