"""Classes that count alike in the supervised loss, however many rows they have."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from datk.base.errors import ConfigError
from datk.config.resolve import changed, resolve
from datk.interfaces import PairInfo, SourceBatch, TargetBatch
from datk.training.checkpoints import Checkpoints
from datk.training.class_weights import balanced
from tests import build

BALANCED = {"class_weights": "balanced"}
ONLY = """
from tests.toys import Toy

class Rare(Toy):
    '''The second class has one row in six.'''

    def __init__(self, config):
        super().__init__(config)
        self.source_labels = (self.source_labels * 0 + [k % 6 == 0 for k in range(len(self.source_labels))])
"""
WEIGHING = """
import torch
from datk.interfaces import Regularizer

class Weighing(Regularizer):
    '''Weighs the rows of a batch by their place.'''

    def supervision(self, losses, source, target, step):
        return (losses * torch.arange(1.0, len(losses) + 1)).sum()

    def forward(self, source, target, step):
        return source.features.sum() * 0
"""


@pytest.mark.parametrize("rows", [[5, 5], [1, 30], [7, 0, 2], [3, 1, 0, 0, 9]])
def test_weights_against_scikit_learn(rows):
    labels = np.repeat(np.arange(len(rows)), rows)
    wanted = np.ones(len(rows))
    there = np.unique(labels)
    wanted[there] = compute_class_weight("balanced", classes=there, y=labels)
    weights = balanced(torch.from_numpy(labels), len(rows))
    np.testing.assert_allclose(weights, wanted, rtol=1e-6)
    assert weights.dtype == torch.float32
    assert float(weights[labels].mean()) == pytest.approx(1)


@pytest.mark.parametrize("reg", ["none", "weighing.py:Weighing"])
def test_the_loss_against_a_loop(reg, tmp_path, monkeypatch):
    (tmp_path / "weighing.py").write_text(WEIGHING)
    model = build.objective(build.experiment(reg=reg), PairInfo((6,), ("a", "b", "c")))
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(8, 6, generator=generator), torch.tensor([0, 1, 2, 0, 0, 0, 2, 0])
    weights = balanced(y, 3)
    domain = torch.zeros(8, dtype=torch.int64)
    source, target = SourceBatch(x, y, torch.arange(8), domain), TargetBatch(x, torch.arange(8), domain + 1)
    (phase,) = model.phases

    def loss():
        return model(source, target, torch.zeros(()), torch.zeros(()), phase)[0]["classification"].detach()

    plain = loss()
    model.weigh_classes(weights)
    logits = model.backbone(x).double().tolist()
    total = unweighted = 0.0
    for place, (row, label) in enumerate(zip(logits, y.tolist(), strict=True), start=1):
        nll = np.log(sum(np.exp(z) for z in row)) - row[label]
        factor = 8 / (3 * y.tolist().count(label))
        by_place = place if reg != "none" else 1 / 8
        total += factor * nll * by_place
        unweighted += nll * by_place
    assert float(loss()) == pytest.approx(total, rel=1e-5)
    assert float(plain) == pytest.approx(unweighted, rel=1e-5)


def rare(tmp_path, name, **options):
    (tmp_path / "rare.py").write_text(ONLY)
    pair = {"name": f"{tmp_path}/rare.py:Rare", "source_rows": 60}
    return build.run(tmp_path / name, "mmd", pair=pair, lr=0.01, **options)


def test_weights_are_those_of_the_training_rows_and_no_part_of_the_model(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(
        "datk.runs.run.balanced", lambda labels, classes: given.append(labels) or balanced(labels, classes)
    )
    weighted, plain = rare(tmp_path, "weighted", **BALANCED), rare(tmp_path, "plain")
    (labels,) = given
    counts = weighted.class_counts["source"]["train"]
    assert torch.bincount(labels).tolist() == list(counts.values())
    assert weighted.weights_sha256 != plain.weights_sha256
    states = [Checkpoints(tmp_path / name).load_selected() for name in ("weighted", "plain")]
    assert set(states[0]) == set(states[1])


def test_a_run_with_weights_goes_on_bit_for_bit(tmp_path):
    whole = build.run(tmp_path / "whole", "mmd", epochs=3, **BALANCED)
    parts = build.run_in_two(tmp_path / "parts", 2, "mmd", epochs=3, **BALANCED)
    assert parts.weights_sha256 == whole.weights_sha256


def test_without_weights_the_run_is_the_one_of_before(tmp_path):
    assert "class_weights" not in changed(build.experiment())["train"]
    same = [build.run(tmp_path / name, "mmd", **options) for name, options in (
        ("plain", {}), ("none", {"class_weights": "none"}))]  # fmt: skip
    assert same[0].weights_sha256 == same[1].weights_sha256


def test_where_weights_cannot_be(tmp_path):
    with pytest.raises(ConfigError, match="balance and class_weights both make up for rare classes"):
        resolve(config={"train": {"balance": 3, **BALANCED}})
    chosen = build.experiment(task="regression", train=BALANCED)
    pair = chosen.pair.cls(chosen.pair.config)
    pair.classes, pair.source_labels = (), pair.source_labels * 0.5
    with pytest.raises(ConfigError, match=r"train\.class_weights needs classes; leave it out"):
        build.prepare(pair, build.task_of(chosen), chosen.config, build.CPU)
