import math

import numpy as np
import pytest
import torch

import datk
from datk.nn import sinkhorn_divergence, squared_distances
from datk.training.checkpoints import Checkpoints
from datk_discrepancy.sidda import LEAST, RATIO, SIDDA, adaptive_blur
from tests.curves import lines
from tests.toys import TOYS

TOY = {"name": TOYS + "Toy", "classes": 3}


def draw(rows, seed, shift=0.0):
    return torch.randn(rows, 4, generator=torch.Generator().manual_seed(seed)) + shift


@pytest.fixture
def term(model):
    def make(eta1=1.0, eta2=1.0, **options):
        sidda = SIDDA(SIDDA.Config(**options), model(dim=4, classes=3))
        with torch.no_grad():
            sidda.eta1.fill_(eta1)
            sidda.eta2.fill_(eta2)
        return sidda

    return make


def at(step, epoch):
    return step()._replace(epoch=torch.tensor(float(epoch)))


def test_the_blur_is_a_share_of_the_largest_distance_between_the_domains():
    source, target = draw(6, 0), draw(3, 1, shift=2.0)
    distances = squared_distances(torch.cat([source, target]))
    largest = max(float((a - b).norm()) for a in source for b in target)
    assert float(adaptive_blur(distances, 6, 0.05)) == pytest.approx(0.05 * largest, rel=1e-4)
    assert float(adaptive_blur(torch.zeros(9, 9), 6, 0.05)) == pytest.approx(0.01)


@pytest.mark.parametrize("rows", [(6, 6), (6, 3)])
def test_the_loss_is_the_formula(term, views, step, rows):
    a, b = views(draw(rows[0], 0), draw(rows[1], 1, shift=1.0), classes=3)
    sidda = term(eta1=0.7, eta2=1.3)
    losses = torch.rand(rows[0], generator=torch.Generator().manual_seed(2))
    value, logged = sidda(a, b, at(step, 5))
    supervised = sidda.supervision(losses, a, b, at(step, 5))

    largest = max(float((x - y).norm()) for x in a.features for y in b.features)
    divergence = float(sinkhorn_divergence(a.features, b.features, 0.05 * largest, 0.9))
    expected = losses.double().mean().item() / (2 * 0.7**2) + divergence / (2 * 1.3**2) + math.log(0.7 * 1.3)
    assert float((value + supervised).detach()) == pytest.approx(expected, rel=1e-4)
    assert float(logged["divergence"].detach()) == pytest.approx(divergence, rel=1e-4)
    assert [float(logged[name].detach()) for name in ("eta1", "eta2")] == pytest.approx([0.7, 1.3])


def test_the_gradient_of_the_weights_is_that_of_the_formula(term, views, step):
    a, b = views(draw(6, 0), draw(5, 1, shift=1.0), classes=3)
    sidda = term(eta1=0.7, eta2=1.3)
    losses = torch.full((6,), 0.9)
    value, logged = sidda(a, b, at(step, 9))
    torch.autograd.backward(value + sidda.supervision(losses, a, b, at(step, 9)))
    divergence = float(logged["divergence"].detach())
    assert float(sidda.eta1.grad) == pytest.approx(-0.9 / 0.7**3 + 1 / 0.7, rel=1e-4)
    assert float(sidda.eta2.grad) == pytest.approx(-divergence / 1.3**3 + 1 / 1.3, rel=1e-4)


def test_in_the_warm_up_the_classification_alone_is_trained(term, views, step):
    a, b = views(draw(6, 0).requires_grad_(), draw(5, 1, shift=1.0), classes=3)
    sidda = term(eta1=0.7, warmup=3)
    losses = torch.rand(6)
    value, _ = sidda(a, b, at(step, 2))
    supervised = sidda.supervision(losses, a, b, at(step, 2))
    torch.autograd.backward(value + supervised)
    assert float(value.detach()) == 0
    assert float(supervised.detach()) == pytest.approx(float(losses.mean()))
    assert not a.features.grad.any()
    assert [float(eta.grad) for eta in (sidda.eta1, sidda.eta2)] == [0, 0]
    assert float(sidda(a, b, at(step, 3))[0].detach()) != 0


@pytest.mark.parametrize(
    ("eta1", "eta2", "expected"), [(-0.2, 1.0, (LEAST, 1.0)), (2.0, 0.1, (2.0, 2.0 * RATIO)), (1, 1, (1, 1))]
)
def test_the_weights_are_held_above_their_bounds(term, eta1, eta2, expected):
    sidda = term(eta1=eta1, eta2=eta2)
    with torch.no_grad():
        sidda.after_step(None)
    assert (float(sidda.eta1.detach()), float(sidda.eta2.detach())) == pytest.approx(expected)


@pytest.mark.parametrize(
    "features", [torch.zeros(5, 4), torch.cat([torch.zeros(4, 4), torch.full((1, 4), 1e4)])]
)
def test_collapsed_and_far_features_have_a_finite_gradient(term, views, step, features):
    leaf = features.clone().requires_grad_()
    a, b = views(leaf, features + 1e-3, classes=3)
    value, _ = term()(a, b, at(step, 9))
    torch.autograd.backward(value)
    assert value.isfinite()
    assert leaf.grad.isfinite().all()


def test_a_run_learns_the_weights_and_logs_them(tmp_path):
    result = datk.run(
        pair=TOY,
        backbone="mlp",
        align={"sidda": {"warmup": 1, "lr_mult": 10.0}},
        epochs=4,
        device="cpu",
        out=tmp_path / "run",
        set={"train.batch_size": 8, "train.log_every": 1, "train.select": "last"},
    )
    state = Checkpoints(result.folder).load_selected()
    etas = [float(state[f"objective.terms.sidda.{name}"]) for name in ("eta1", "eta2")]
    steps = lines(result.folder, "step")
    first = [record["logged"]["sidda.eta1"] for record in steps if record["epoch"] == 1]
    assert set(first) == {1.0}
    assert steps[-1]["logged"]["sidda.eta1"] == pytest.approx(etas[0], abs=0.05)
    assert all(np.abs(np.array(etas) - 1) > 1e-3)
