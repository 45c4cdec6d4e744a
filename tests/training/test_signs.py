"""What is seen of a run after its warm-up, and what comes of it."""

from pathlib import Path
from typing import ClassVar

import pytest
import torch

from datk.base.errors import RunError
from datk.interfaces import AlignmentLoss
from datk.training.label_shift import ratios, shares
from datk.training.signs import late_fall, look_epoch
from tests.build import run, run_in_two, trainer
from tests.toys import TOYS

HERE = f"{Path(__file__).resolve()}:"
SHIFTED = {"source_rows": 120, "target_rows": 120, "classes": 3, "shift": 0.5}


class Sees(AlignmentLoss):
    """Keeps the weights of the source rows that it is given."""

    seen: ClassVar = []

    def forward(self, source, target, step):
        self.seen.append((source.weights, source.labels))
        pull = source.features.mean(dim=0) - target.features.mean(dim=0)
        return pull.square().sum()


class Faint(AlignmentLoss):
    """Hardly pulls; beside it, what pulls at nothing that is trained, and what is no number."""

    def forward(self, source, target, step):
        return 1e-9 * source.features.sum() - target.features.sum() * 1e-9


class Unattached(Faint):
    def forward(self, source, target, step):
        return torch.ones((), device=source.x.device)


@pytest.mark.parametrize(("epochs", "epoch"), [(1, 0), (2, 1), (5, 1), (6, 2), (20, 4), (100, 20)])
def test_the_look_is_taken_after_a_fifth_of_the_epochs(epochs, epoch):
    assert look_epoch(epochs) == epoch


def test_source_rows_are_weighed_from_then_on(tmp_path):
    looks = []
    training = trainer(tmp_path / "run", HERE + "Sees", pair=SHIFTED, epochs=5, label_shift="estimate")
    sees = training.terms[0]
    sees.seen = []
    training.on_look = looks.append
    training.fit()
    (look,) = looks
    assert look == training.signs.look
    assert sum(look.shares) == pytest.approx(1)
    steps = training.steps_per_epoch
    assert all(torch.equal(weights, torch.ones(16)) for weights, _ in sees.seen[:steps])
    expected = ratios(torch.tensor(look.shares, dtype=torch.float64), shares(training.data.labels, 3))
    assert not torch.equal(expected, torch.ones(3))
    assert all(torch.equal(weights, expected[labels]) for weights, labels in sees.seen[steps:])


def test_nothing_is_weighed_unless_it_was_asked_for(tmp_path):
    training = trainer(tmp_path / "run", HERE + "Sees", pair=SHIFTED, epochs=2)
    training.terms[0].seen = []
    training.fit()
    assert training.signs.look is not None
    assert all(weights is None for weights, _ in training.terms[0].seen)
    assert not [name for name in training.objective.state_dict() if "ratios" in name]


def test_looking_changes_nothing(tmp_path, monkeypatch):
    seen = run(tmp_path / "seen", ["mmd", TOYS + "Centroid"], epochs=3, pair=SHIFTED)
    monkeypatch.setattr("datk.training.signs.Signs.before_epoch", lambda *_: False)
    monkeypatch.setattr("datk.training.signs.Signs.measures", lambda *_: False)
    unseen = run(tmp_path / "unseen", ["mmd", TOYS + "Centroid"], epochs=3, pair=SHIFTED)
    assert seen.weights_sha256 == unseen.weights_sha256
    assert seen.pulls
    assert not unseen.pulls


@pytest.mark.parametrize("epoch", [1, 2, 3, 5])
def test_a_resumed_run_has_seen_the_same(tmp_path, epoch):
    options = {"epochs": 6, "pair": SHIFTED, "label_shift": "estimate", "save_every": 0}
    align = {"mmd": {"ramp": "warm-up"}}
    whole = run(tmp_path / "whole", align, **options)
    again = run_in_two(tmp_path / "two", epoch, align, **options)
    assert again.weights_sha256 == whole.weights_sha256
    assert again.predicted_shares == whole.predicted_shares
    assert (again.information, again.pulls) == (whole.information, whole.pulls)
    assert again.alarms == whole.alarms


def test_estimated_shares_lead_to_other_weights(tmp_path):
    options = {"epochs": 3, "pair": SHIFTED}
    plain = run(tmp_path / "plain", "mmd", **options)
    weighed = run(tmp_path / "weighed", "mmd", label_shift="estimate", **options)
    assert plain.weights_sha256 != weighed.weights_sha256


def test_an_epoch_that_goes_wrong_is_done_again_with_the_same_weights_of_rows(tmp_path):
    """In the epoch of the look itself the checkpoint before it knows of no shares."""
    training = trainer(
        tmp_path / "run",
        HERE + "Sees",
        {TOYS + "NanGradient": {"step": 7}},
        pair=SHIFTED,
        epochs=5,
        label_shift="estimate",
    )
    training.terms[0].seen = seen = []
    with pytest.raises(RunError, match="the gradient of loss term 'NanGradient' is not finite"):
        training.fit()
    steps = training.steps_per_epoch
    assert (
        len(seen) == 10 + 1
    )  # up to the log step that shows it, then from the start of its epoch to the step
    assert all(not torch.equal(weights, torch.ones(16)) for weights, _ in seen[steps:])


def test_pulls_are_measured_beside_the_supervised_loss(tmp_path):
    training = trainer(
        tmp_path / "run",
        [HERE + "Faint", HERE + "Unattached", HERE + "Sees"],
        pair=SHIFTED,
        epochs=4,
    )
    training.fit()
    pulls = training.signs.pulls
    assert set(pulls) == {"Faint", "Sees"}
    assert 0 < pulls["Faint"] < 1e-6
    assert pulls["Sees"] > 1e-3


def test_three_epochs_are_measured(tmp_path):
    training = trainer(tmp_path / "run", "mmd", pair=SHIFTED, epochs=10)
    assert [epoch for epoch in range(10) if training.signs.measures(epoch, 10)] == [2, 5, 9]
    assert [epoch for epoch in range(1) if training.signs.measures(epoch, 1)] == [0]


def test_a_source_only_run_looks_at_the_end(tmp_path):
    result = run(tmp_path / "run", "none", epochs=2, pair=SHIFTED)
    assert set(result.predicted_shares) == {"class 0", "class 1", "class 2"}
    assert result.information > 0
    assert not result.pulls


def test_a_network_trained_on_balanced_classes_says_the_same_shares(tmp_path):
    """Weighed as if classes were equally frequent it predicts rare ones too often, which is taken back."""
    training = trainer(tmp_path / "run", "mmd", pair=SHIFTED, epochs=1)
    labels, validation = training.data.labels, training.data.validation_labels
    for each in (labels, validation):
        each[:] = torch.arange(len(each)) % 10 == 0
    of_source = shares(labels, 3)
    vague = torch.zeros(30, 3)  # it cannot tell classes apart
    plain = training.signs.look_at(vague[: len(validation)], vague).shares
    training.objective.weigh_classes(torch.ones(3))
    taken_back = training.signs.look_at(vague[: len(validation)], vague).shares
    assert taken_back == pytest.approx(of_source.tolist())
    assert abs(plain[0] - of_source[0]) > 0.3


def test_where_numbers_are_predicted_nobody_looks(tmp_path, tiny_arrays):
    import datk

    tables = {key: value.reshape(60, -1)[:, :8] for key, value in tiny_arrays.items() if key.endswith("x")}
    numbers = {"source_y": tiny_arrays["source_y"] * 1.5, "target_y": tiny_arrays["target_y"] * 1.5}
    result = datk.run(
        pair={"name": "arrays", **tables, **numbers},
        set={"task": "regression", "train.label_shift": "estimate"},
        backbone="mlp",
        align="mmd",
        epochs=2,
        out=tmp_path / "run",
        device="cpu",
    )
    assert not result.predicted_shares
    assert result.information is None
    assert result.pulls["mmd"] > 0


# --- whether the loss still fell -----------------------------------------------------------------------


def test_what_came_late_is_told_by_the_learning_rate_not_by_the_epochs():
    falling = [float(-epoch) for epoch in range(1, 11)]
    assert late_fall(falling, [1.0] * 10) == pytest.approx(1 / 9)
    annealed = [2.0, 2.0, 2.0, 2.0, 1.0, 0.2, 0.2, 0.2, 0.2, 0.2]  # the last five have a tenth of the sum
    assert late_fall(falling, annealed) == pytest.approx(5 / 9)
    assert late_fall([9.0, *[0.0] * 9], annealed) == 0


def test_a_loss_that_reached_its_least_before_falls_by_nothing_late():
    assert late_fall([5.0, 0.0, 1.0, 2.0], [1.0] * 4) == 0
    assert late_fall([5.5, 0.5, 1.0, 0.0], [1.0] * 4) == pytest.approx(0.5 / 5.5)
    assert late_fall([3.0, 2.0, 1.0], [1.0] * 3) == pytest.approx(0.5)
    assert late_fall([3.0, 1.0], [1.0] * 2) == 1


@pytest.mark.parametrize("losses", [[], [1.0], [1.0, 2.0], [1.0, 1.0]])
def test_nothing_is_said_of_losses_that_do_not_fall(losses):
    assert late_fall(losses, [1.0] * len(losses)) == 0


def test_losses_are_taken_up_on_resume(tmp_path):
    options = {"epochs": 6, "pair": {"classes": 3}, "save_every": 0, "lr": 1e-3}
    whole = run(tmp_path / "whole", **options)
    again = run_in_two(tmp_path / "two", 4, **options)
    assert whole.late_fall > 0.01
    assert again.late_fall == whole.late_fall
    assert "last-epoch" in [alarm.code for alarm in whole.alarms]
    assert again.alarms == whole.alarms
