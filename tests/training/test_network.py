"""`Step.network`: another pass of a term's own through the backbone as the step trains it."""

import copy

import pytest
import torch

import datk
from datk.config import plugins
from datk.interfaces import PairInfo, SourceBatch, TargetBatch
from datk.training.checkpoints import Checkpoints
from datk.training.step import Optimization, train_step
from tests import build
from tests.toy_methods import METHODS
from tests.toys import TOYS

VECTORS, IMAGES = PairInfo((6,), ("a", "b")), PairInfo((2, 16, 16), ("a", "b"))
BACKBONES = {
    "mlp": ("mlp", VECTORS),
    "counting": (METHODS + "Counting", VECTORS),
    "deepmerge": ("deepmerge", IMAGES),
    "by-domain": (METHODS + "ByDomain", VECTORS),
}


def objective(backbone="counting", reg=(METHODS + "Consistency",), **options):
    name, pair = BACKBONES[backbone]
    return build.objective(build.experiment(backbone=name, reg=list(reg), **options), pair)


def rows(pair, count=12, seed=0):
    return torch.randn(count, *pair.shape, generator=torch.Generator().manual_seed(seed))


def state(module):
    """All buffers, those that are not saved too, and what is no buffer."""
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("backbone", BACKBONES)
def test_no_buffer_of_the_backbone_changes(backbone):
    model = objective(backbone)
    before, grads = state(model), []
    for _ in range(2):
        layers, logits = model.network(rows(BACKBONES[backbone][1]))
        grads.append(
            torch.autograd.grad(
                logits.sum() + layers["features"].sum(), model.backbone.parameters(), allow_unused=True
            )
        )
    assert_same(state(model), before)
    model(*batches(backbone), torch.zeros(()), torch.zeros(()), model.phases[0])
    if backbone != "mlp":  # which has none; the step's own pass does leave its trace
        assert any(not torch.equal(value, before[name]) for name, value in state(model).items())


def batches(backbone, count=12):
    pair = BACKBONES[backbone][1]
    number = torch.arange(count)
    zeros = torch.zeros_like(number)
    return (
        SourceBatch(rows(pair, count, 1), number % 2, number, zeros),
        TargetBatch(rows(pair, count, 2), number, zeros + 1),
    )


@pytest.mark.parametrize("backbone", BACKBONES)
def test_it_is_the_plain_pass_of_the_same_rows(backbone):
    """In training mode: batch normalisation goes by the rows that are passed, and by nothing else."""
    model = objective(backbone)
    x = rows(BACKBONES[backbone][1])
    twin = copy.deepcopy(model.backbone).train()
    domain = torch.ones(len(x), dtype=torch.int64)
    expected = twin.layers_of(x, domain)
    layers, logits = model.network(x)
    assert layers.keys() == expected.keys()
    assert all(torch.equal(layers[name], expected[name]) for name in layers)
    assert torch.equal(logits, twin.head(expected["features"]))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_gradient_flows_as_through_the_plain_pass(backbone):
    model = objective(backbone)
    x = rows(BACKBONES[backbone][1]).requires_grad_()
    twin = copy.deepcopy(model.backbone).train()
    domain = torch.ones(len(x), dtype=torch.int64)

    def gradients(logits, module):
        return torch.autograd.grad(logits.square().mean(), [x, *module.parameters()], allow_unused=True)

    found = gradients(model.network(x)[1], model.backbone)
    expected = gradients(twin(x, domain), twin)
    used = [mine is not None for mine in expected]
    assert [mine is not None for mine in found] == used
    assert sum(used) > 3
    for mine, theirs in zip(found, expected, strict=True):
        assert mine is None or torch.equal(mine, theirs)


def test_dropout_is_drawn_anew():
    model = objective(backbone="counting")
    model.backbone.trunk[3].p = 0.5
    x = rows(VECTORS)
    features = [model.network(x)[0]["features"] for _ in range(2)]
    assert not torch.equal(*features)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first = model.network(x)[0]["features"]
        torch.manual_seed(0)
        assert torch.equal(first, model.network(x)[0]["features"])


@pytest.mark.parametrize("domain", [None, 0, 1])
def test_rows_are_of_the_target_unless_something_else_is_said(domain):
    model = objective("by-domain")
    x, seen = rows(VECTORS), type(model.backbone).seen
    seen.clear()
    model.network(x, None if domain is None else torch.full((12,), domain))
    assert seen == [(True, [1 if domain is None else domain] * 12)]


def test_a_second_derivative_can_be_taken():
    """For penalties of the gradient and adversarial perturbations."""
    model = objective("mlp")
    x = rows(VECTORS).requires_grad_()
    (slope,) = torch.autograd.grad(model.network(x)[1].square().sum(), x, create_graph=True)
    grads = torch.autograd.grad(slope.square().sum(), list(model.backbone.parameters()), allow_unused=True)
    assert any(grad is not None and grad.abs().max() > 0 for grad in grads)


def test_a_step_with_it_leaves_the_statistics_of_a_step_without():
    """The number of passes and the running mean of the first step do not differ, the weights do: of the
    second step, as the first one of Adam follows the sign of the gradient alone."""
    first, second = [], []
    for reg in ([METHODS + "Consistency"], ["entropy"]):
        model = objective("counting", reg)
        run = Optimization(model, build.experiment().config.train, steps_per_epoch=2)
        for step, states in enumerate((first, second)):
            train_step(run, step, *batches("counting"))
            states.append(copy.deepcopy(model.backbone.state_dict()))
    with_it, without = first
    assert with_it["passes"] == without["passes"] == 1
    for name in ("trunk.1.running_mean", "trunk.1.running_var", "trunk.1.num_batches_tracked"):
        assert torch.equal(with_it[name], without[name])
    assert (second[0]["head.weight"] - second[1]["head.weight"]).abs().max() > 1e-5


# --- whole runs ----------------------------------------------------------------------------------------


def train(out, backbone, weight=1.0, resume=False, epochs=3):
    return datk.run(
        pair={"name": TOYS + "Toy", "shape": [2, 16, 16] if backbone == "deepmerge" else [6]},
        backbone={"name": METHODS + "Counting", "dropout": 0.2} if backbone == "counting" else backbone,
        align="none",
        reg={METHODS + "Consistency": {"weight": weight}},
        epochs=epochs,
        out=out,
        resume=resume,
        device="cpu",
        set={"train.batch_size": 16, "train.save_every": 0},
    )


@pytest.mark.parametrize("backbone", ["counting", "deepmerge"])
def test_a_run_trains_with_it_and_resumes_bit_for_bit(backbone, tmp_path):
    whole = train(tmp_path / "whole", backbone)

    def stopped(self, record, original=Checkpoints.append_metrics):
        original(self, record)
        if record["kind"] == "epoch" and record["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "append_metrics", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "run", backbone)
    assert train(tmp_path / "run", backbone, resume=True).weights_sha256 == whole.weights_sha256
    assert train(tmp_path / "light", backbone, weight=0.5).weights_sha256 != whole.weights_sha256


def test_predictions_become_more_consistent(tmp_path):
    """The gap between predictions before and after noise shrinks with the term, as its value says."""
    consistency = plugins.load(plugins.resolve("regularizer", METHODS + "Consistency"))
    gaps = []
    for weight in (0.0, 30.0):
        seen = []

        def forward(self, source, target, step, seen=seen, original=consistency.forward):
            value, logged = original(self, source, target, step)
            seen.append(float(value.detach()) / float(target.logits.detach().std()))
            return value, logged

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(consistency, "forward", forward)
            train(tmp_path / str(weight), "mlp", weight=weight, epochs=15)
        gaps.append(sum(seen[-10:]) / 10)
    assert gaps[1] < 0.8 * gaps[0]
