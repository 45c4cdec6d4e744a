"""Backbone and terms as one module."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from datk import nn
from datk.base.errors import PluginError
from datk.config.resolve import resolve
from datk.interfaces import AlignmentLoss, PairInfo, Phase, SourceBatch, TargetBatch
from datk.nn import joined
from datk.training.objective import Objective, views

TOYS = f"{Path(__file__).with_name('toys.py')}:"
PAIR = PairInfo((6,), ("a", "b", "c"))


def objective(align="none", reg=None, seed=0, hidden=(5, 4), **options):
    config = {
        "pair": TOYS + "Toy",
        "backbone": {"name": "mlp", "hidden": list(hidden)},
        "align": align,
        "reg": reg or {},
        **options,
    }
    return Objective(resolve(config=config), PAIR, source_size=30, target_size=40, seed=seed)


def batches(source=8, target=7):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(source + target, 6, generator=generator)
    labels = torch.arange(source) % 3
    return SourceBatch(x[:source], labels, torch.arange(source)), TargetBatch(
        x[source:], torch.arange(target)
    )


def test_the_backbone_starts_alike_whatever_it_is_combined_with():
    states = [
        objective(align, reg).backbone.state_dict()
        for align, reg in [("none", None), ("dann", None), (["mmd", "dann"], ["fisher"])]
    ]
    for state in states[1:]:
        assert all(torch.equal(state[name], tensor) for name, tensor in states[0].items())
    other = objective(seed=1).backbone.state_dict()
    assert not torch.equal(other["head.1.weight"], states[0]["head.1.weight"])


def test_terms_start_alike_whatever_stands_beside_them():
    alone, beside = objective("dann"), objective(["mmd", "dann"], ["fisher"])
    mine, theirs = alone.losses["dann"].state_dict(), beside.losses["dann"].state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_building_draws_nothing_from_the_callers_generator():
    before = torch.get_rng_state()
    objective("dann", ["fisher"])
    assert torch.equal(torch.get_rng_state(), before)


def test_views_are_those_of_one_joint_pass():
    model = objective()
    source, target = batches()
    source_view, target_view = views(source, target, model.passed(source, target))
    joint = model.backbone.embed(torch.cat([source.x, target.x]))
    assert set(source_view.layers) == {"hidden1", "hidden2", "features"}
    for name, layer in joint.items():
        assert torch.equal(source_view.layers[name], layer[:8])
        assert torch.equal(target_view.layers[name], layer[8:])
    assert torch.equal(target_view.features, joint["features"][8:])
    assert torch.equal(
        torch.cat([source_view.logits, target_view.logits]), model.backbone.head(joint["features"])
    )
    assert source_view.shared is target_view.shared
    assert set(source_view.shared) == {("joined", name) for name in joint}
    assert all(torch.equal(joined(source_view, target_view, name), joint[name]) for name in joint)
    assert torch.equal(source_view.labels, source.y)
    assert torch.equal(target_view.index, target.index)


def test_distances_are_computed_once_for_all_terms(monkeypatch):
    calls, original = [], nn.squared_distances
    monkeypatch.setattr(nn, "squared_distances", lambda x: calls.append(x) or original(x))
    model = objective(["mmd", "coral"], hidden=[5, 40])
    terms = model(*batches(), torch.zeros(()), Phase())
    assert len(calls) == 1
    alone = [
        objective(name, hidden=[5, 40])(*batches(), torch.zeros(()), Phase()) for name in ("mmd", "coral")
    ]
    assert terms["mmd"] == alone[0]["mmd"]
    assert terms["coral"] == alone[1]["coral"]


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_terms_are_weighted_and_ramped(progress):
    plain = objective("coral", ["entropy"])
    weighted = objective(
        {"coral": {"weight": 3.0, "ramp": "linear"}}, {"entropy": {"weight": 0.5, "ramp": "dann"}}
    )
    source, target = batches()
    at = torch.tensor(progress)
    before, after = (model(source, target, at, Phase()) for model in (plain, weighted))
    assert list(before) == ["classification", "coral", "entropy"]
    assert before["classification"] == after["classification"]
    assert before["classification"] == F.cross_entropy(plain.backbone(source.x), source.y)
    torch.testing.assert_close(after["coral"], before["coral"] * 3 * progress)
    growth = 2 / (1 + torch.exp(-10 * at)) - 1
    torch.testing.assert_close(after["entropy"], before["entropy"] / 0.05 * 0.5 * growth)


@pytest.mark.parametrize(
    ("phase", "names"),
    [
        (Phase(), ["classification", "coral", "entropy"]),
        (Phase(supervised=False), ["coral", "entropy"]),
        (Phase(regularized=False), ["classification", "coral"]),
        (Phase(supervised=False, regularized=False), ["coral"]),
    ],
)
def test_a_phase_says_which_terms_it_has(phase, names):
    assert list(objective("coral", ["entropy"])(*batches(), torch.zeros(()), phase)) == names


def test_groups_keep_their_owner_and_settings():
    config = {
        "pair": TOYS + "Toy",
        "backbone": {"name": "resnet18", "lr_mult": 7.0},
        "align": "none",
        "reg": {"fisher": {}},
    }
    model = Objective(resolve(config=config), PairInfo((3, 32, 32), ("a", "b")), 10, 10, 0)
    groups = model.groups()
    owners = [(owner, group.lr_mult) for owner, group in groups]
    assert owners == [("trunk", 1.0), ("trunk", 7.0), ("head", 7.0), ("terms", 10.0)]
    grouped = [id(parameter) for _, group in groups for parameter in group.params]
    assert sorted(grouped) == sorted(id(parameter) for parameter in model.parameters())


@pytest.mark.parametrize(
    ("align", "reg", "needs"),
    [("none", [], False), ("none", ["fisher"], False), ("none", ["entropy"], True), ("mmd", [], True)],
)
def test_the_target_is_needed_if_any_term_needs_it(align, reg, needs):
    assert objective(align, reg).needs_target == needs


@pytest.mark.parametrize(
    ("align", "reg", "message"),
    [
        ("none", "Forgetful", r"Forgetful: param_groups\(\) lists parameter 'forgotten' 0 times, not once"),
        ("none", "Twice", r"Twice: param_groups\(\) lists parameter 'forgotten' 2 times, not once"),
        ("UnknownOwner", None, "phase 'odd' must update some of trunk, head, terms"),
        ("SameNames", None, "SameNames: phases must be one or more with different names"),
    ],
)
def test_faults_of_components_are_named(align, reg, message):
    align = align if align == "none" else TOYS + align
    with pytest.raises(PluginError, match=message):
        objective(align, [TOYS + reg] if reg else None)


def test_two_alignments_with_phases_are_refused():
    with pytest.raises(PluginError, match=r"Discrepancy and EmptyPhase both define phases"):
        objective([TOYS + "Discrepancy", TOYS + "EmptyPhase"])
    assert objective([TOYS + "Discrepancy", "mmd"]).phases[0].name == "all"
    assert objective("mmd").phases == AlignmentLoss.phases


def test_a_term_that_is_no_number_is_named():
    with pytest.raises(PluginError, match=r"loss term 'Vector' gives shape \[4\], not one number"):
        objective(reg=[TOYS + "Vector"])(*batches(), torch.zeros(()), Phase())


def test_looking_at_the_layers_changes_no_state():
    config = {"pair": TOYS + "Toy", "backbone": "deepmerge", "align": "none"}
    model = Objective(resolve(config=config), PairInfo((3, 16, 16), ("a", "b")), 10, 10, 0)
    state = model.state_dict()
    assert all(
        (state[name] == 0).all() for name in state if name.endswith(("running_mean", "batches_tracked"))
    )
    assert model.backbone.training
