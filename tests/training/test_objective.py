"""Backbone and terms as one module."""

import math

import pytest
import torch
from torch.nn import functional as F

from datk.base.errors import ConfigError, PluginError
from datk.config import plugins
from datk.interfaces import AlignmentLoss, PairInfo, Phase, SourceBatch, TargetBatch
from datk.nn import distances, joined
from tests import build
from tests.toy_methods import METHODS
from tests.toys import TOYS

PAIR = PairInfo((6,), ("a", "b", "c"))


ZERO = torch.zeros(())


def objective(align="none", reg=None, seed=0, hidden=(5, 4), pair=PAIR, **options):
    config = {
        "backbone": {"name": "mlp", "hidden": list(hidden)},
        "align": align,
        "reg": reg or {},
        **options,
    }
    return build.objective(build.experiment(**config, seed=seed), pair, 30, 40)


def batches(source=8, target=7):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(source + target, 6, generator=generator)
    rows, others = torch.arange(source), torch.arange(target)
    return (
        SourceBatch(x[:source], rows % 3, rows, torch.zeros_like(rows)),
        TargetBatch(x[source:], others, torch.ones_like(others)),
    )


def losses(model, progress=ZERO, epoch=ZERO, phase=None, rows=None):
    """The terms of the loss."""
    return model(*(rows or batches()), progress, epoch, phase or model.phases[0])[0]


@pytest.fixture
def seen(monkeypatch):
    """The views that the alignment `Recorder` was shown, a pair for each step."""
    shown = []
    recorder = plugins.load(plugins.resolve("alignment", TOYS + "Recorder"))

    def forward(self, source, target, step):
        shown.append((source, target))
        return source.features.sum() * 0

    monkeypatch.setattr(recorder, "forward", forward)
    return shown


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
    mine, theirs = alone.loss_terms["dann"].state_dict(), beside.loss_terms["dann"].state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_building_draws_nothing_from_the_callers_generator():
    before = torch.get_rng_state()
    objective("dann", ["fisher"])
    assert torch.equal(torch.get_rng_state(), before)


def test_views_are_those_of_one_joint_pass(seen):
    model = objective(TOYS + "Recorder")
    source, target = batches()
    losses(model, rows=(source, target))
    ((source_view, target_view),) = seen
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
    for view, batch in ((source_view, source), (target_view, target)):
        assert torch.equal(view.index, batch.index)
        assert torch.equal(view.domain, batch.domain)
        assert torch.equal(view.x, batch.x)


def test_distances_are_computed_once_for_all_terms(monkeypatch):
    calls, original = [], distances.squared_distances
    monkeypatch.setattr(distances, "squared_distances", lambda x: calls.append(x) or original(x))
    model = objective(["mmd", "sidda"], hidden=[5, 40])
    terms = losses(model)
    assert len(calls) == 1
    alone = [losses(objective(name, hidden=[5, 40])) for name in ("mmd", "sidda")]
    assert terms["mmd"] == alone[0]["mmd"]
    assert terms["sidda"] == alone[1]["sidda"]


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_terms_are_weighted_and_ramped(progress):
    plain = objective({"coral": {"weight": 1.0, "ramp": "constant"}}, ["entropy"])
    weighted = objective(
        {"coral": {"weight": 3.0, "ramp": "linear"}}, {"entropy": {"weight": 0.5, "ramp": "dann"}}
    )
    source, at = batches()[0], torch.tensor(progress)
    before, after = (losses(model, at) for model in (plain, weighted))
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
    assert list(losses(objective("coral", ["entropy"]), phase=phase)) == names


def test_groups_keep_their_owner_and_settings():
    backbone = {"name": "resnet18", "lr_mult": 7.0}
    model = objective(reg=["fisher"], backbone=backbone, pair=PairInfo((3, 32, 32), ("a", "b")))
    groups = model.groups()
    owners = [(owner, group.lr_mult) for owner, group in groups]
    assert owners == [("trunk", 1.0), ("trunk", 7.0), ("head", 7.0), ("terms", 10.0)]
    grouped = [id(parameter) for _, group in groups for parameter in group.params]
    assert sorted(grouped) == sorted(id(parameter) for parameter in model.parameters())


@pytest.mark.parametrize(
    ("align", "reg", "passes"),
    [
        ("none", [], ("source",)),
        ("none", ["fisher"], ("source",)),
        ("none", ["entropy"], ("source", "target")),
        ("mmd", [], ("source", "target")),
        (METHODS + "SourceFree", [], ("target",)),
        (METHODS + "SourceFree", ["entropy"], ("target",)),
        (METHODS + "InTurn", [], ("source", "target")),
    ],
)
def test_the_domains_that_pass_are_those_that_a_phase_passes_and_a_term_needs(align, reg, passes):
    assert objective(align, reg).passes == passes


@pytest.mark.parametrize(
    ("align", "reg", "message"),
    [
        ("none", "Forgetful", r"Forgetful: param_groups\(\) lists parameter 'forgotten' 0 times, not once"),
        ("none", "Twice", r"Twice: param_groups\(\) lists parameter 'forgotten' 2 times, not once"),
        (TOYS + "UnknownOwner", None, "phase 'odd' must update some of trunk, head, terms"),
        (TOYS + "SameNames", None, "'SameNames': phases must be one or more with different names"),
        (
            METHODS + "SupervisedTarget",
            None,
            "is supervised but passes no source rows; say supervised=False",
        ),
        (
            METHODS + "NobodyPasses",
            None,
            "phase 'empty' must pass source or target rows, or both",
        ),
        (METHODS + "Unneeded", None, "phase 'target' passes target rows alone, but needs_target is False"),
    ],
)
def test_faults_of_components_are_named(align, reg, message):
    with pytest.raises(PluginError, match=message):
        objective(align, [TOYS + reg] if reg else None)


def test_two_alignments_with_phases_are_refused():
    with pytest.raises(PluginError, match=r"'Discrepancy' and 'EmptyPhase' both define phases"):
        objective([TOYS + "Discrepancy", TOYS + "EmptyPhase"])
    assert objective([TOYS + "Discrepancy", "mmd"]).phases[0].name == "all"
    assert objective("mmd").phases == AlignmentLoss.phases


def test_a_term_that_is_no_number_is_named():
    with pytest.raises(PluginError, match=r"loss term 'Vector' gives shape \[4\], not one number"):
        losses(objective(reg=[TOYS + "Vector"]))


def test_looking_at_the_layers_changes_no_state():
    model = objective(backbone="deepmerge", pair=PairInfo((3, 16, 16), ("a", "b")))
    state = model.state_dict()
    assert all(
        (state[name] == 0).all() for name in state if name.endswith(("running_mean", "batches_tracked"))
    )
    assert model.backbone.training


# --- weight and ramp -----------------------------------------------------------------------------------


def gradients(align, options, progress):
    """Of every parameter, by name, from the alignment alone."""
    model = objective({align: options}, hidden=[5, 4])
    value = losses(model, progress)[align.rpartition(":")[2]]
    found = torch.autograd.grad(value, list(model.parameters()), allow_unused=True)
    names = [name for name, _ in model.named_parameters()]
    return value, {name: grad for name, grad in zip(names, found, strict=True) if grad is not None}


@pytest.mark.parametrize("align", ["Critic", "NetworkCritic"])
@pytest.mark.parametrize(
    ("options", "progress", "pull"),
    [
        ({"weight": 0.0}, 0.5, 0.0),
        ({"weight": 0.25}, 0.5, 0.25),
        ({"weight": 3.0, "ramp": "linear"}, 0.5, 1.5),
        ({"ramp": "dann"}, 0.1, 2 / (1 + math.exp(-1)) - 1),
        ({"ramp": "linear"}, 0.0, 0.0),
    ],
)
def test_weight_and_ramp_act_on_the_backbone_and_not_on_a_critic(align, options, progress, pull):
    at = torch.tensor(progress)
    plain_value, plain = gradients(METHODS + align, {}, at)
    value, found = gradients(METHODS + align, options, at)
    assert value == plain_value
    assert plain.keys() == found.keys()
    assert {name.partition(".")[0] for name in plain} == {"backbone", "terms"}
    for name, expected in plain.items():
        if name.startswith("terms"):
            assert torch.equal(found[name], expected)
            assert expected.abs().max() > 0
        else:
            torch.testing.assert_close(found[name], pull * expected)


@pytest.mark.parametrize(
    ("options", "progress", "pull"),
    [({"weight": 2.0}, 1.0, 2.0), ({"weight": 2.0, "ramp": "linear"}, 0.25, 0.5)],
)
def test_weight_and_ramp_are_factors_of_a_term_that_owns_nothing(options, progress, pull):
    at = torch.tensor(progress)
    plain_value, plain = gradients("coral", {"weight": 1.0, "ramp": "constant"}, at)
    value, found = gradients("coral", {"ramp": "constant"} | options, at)
    torch.testing.assert_close(value, pull * plain_value)
    for name, expected in plain.items():
        torch.testing.assert_close(found[name], pull * expected)


# --- of all terms one ----------------------------------------------------------------------------------


def test_a_term_may_weigh_the_labelled_rows():
    model = objective(reg=[METHODS + "Weighing", "fisher"])
    source, target = batches()
    found = losses(model, rows=(source, target))
    each = F.cross_entropy(model.backbone(source.x), source.y, reduction="none")
    assert list(found) == ["classification", "none", "Weighing", "fisher"]
    torch.testing.assert_close(found["classification"], each[source.y > 0].sum() / 8)


@pytest.mark.parametrize(
    ("align", "reg", "what"),
    [
        ("none", ["Weighing", "WeighingToo"], "'Weighing' and 'WeighingToo' both define the supervision"),
        ("mean-teacher", ["Averaged"], "'mean-teacher' and 'Averaged' both define the predictor"),
        ("sidda", ["Weighing"], "'sidda' and 'Weighing' both define the supervision"),
    ],
)
def test_two_terms_that_want_the_same_for_all_are_refused(align, reg, what):
    with pytest.raises(ConfigError, match=f"{what}; use one of them at a time"):
        objective(align, [METHODS + name for name in reg])


def test_terms_that_want_different_things_for_all_go_together():
    model = objective(METHODS + "Planning", [METHODS + "Weighing", METHODS + "Averaged"])
    assert model.sole == {"supervision": "Weighing", "predictor": "Averaged", "plan": "Planning"}


def test_a_supervision_that_is_no_number_is_named():
    with pytest.raises(PluginError, match=r"supervision of 'WeighsToRows' gives shape \[8\], not one number"):
        losses(objective(reg=[METHODS + "WeighsToRows"]))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("one", "two tensors, of source and target, not Tensor"),
        ("flat", r"\[4, B\] rows of the source, not \[12\]"),
        ("short", r"\[4, B\] rows of the target, not \[3, 5\]"),
        ("empty", r"\[4, B\] rows of the source, not \[4, 0\]"),
        ("fractions", r"whole numbers \(int64\) of the target, not torch.float32"),
        ("beyond", r"rows 0\.\.39 of the target, not 4\d\.\."),
        ("negative", r"rows 0\.\.29 of the source, not -"),
    ],
)
def test_a_plan_that_cannot_be_is_named(kind, message):
    model = objective({METHODS + "Planning": {"plan": kind}})
    with pytest.raises(PluginError, match=f"'Planning': plan must give {message}"):
        model.plan(torch.arange(30) % 2, 4, 3, torch.Generator().manual_seed(0))


def test_a_term_may_leave_the_plan_to_chance():
    generator = torch.Generator().manual_seed(0)
    assert (
        objective({METHODS + "Planning": {"plan": "none"}}).plan(torch.arange(30) % 2, 4, 3, generator)
        is None
    )
    assert objective().plan(torch.arange(30) % 2, 4, 3, generator) is None


@pytest.mark.parametrize("number", [0.5, torch.ones(2)])
def test_what_is_to_be_logged_is_one_number(number, monkeypatch):
    logging = plugins.load(plugins.resolve("regularizer", METHODS + "Logging"))
    monkeypatch.setattr(
        logging, "forward", lambda self, *views: (views[0].features.mean(), {"share": number})
    )
    with pytest.raises(PluginError, match=r"'Logging\.share', which is to be logged, gives .*, not one"):
        losses(objective(reg=[METHODS + "Logging"]))
