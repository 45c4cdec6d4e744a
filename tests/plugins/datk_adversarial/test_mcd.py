import numpy as np
import pytest
import torch
from torch import nn

import datk
from datk.interfaces import PairInfo
from datk.training.checkpoints import Checkpoints
from datk.training.step import Optimization
from datk_adversarial.mcd import MCD, MeanOfHeads, discrepancy
from datk_deepmerge.mlp import MLP
from tests.build import dataset, experiment, objective
from tests.toys import TOYS

TOY = {"name": TOYS + "Toy", "classes": 3}


@pytest.fixture
def term(model):
    """The term after its setup, and the backbone it was set up with."""
    torch.manual_seed(0)
    backbone = MLP(MLP.Config(hidden=(5,)), PairInfo((6,), ("a", "b", "c")))
    mcd = MCD(MCD.Config(), model(dim=5, classes=3))
    mcd.setup(backbone)
    return mcd, backbone


def test_the_discrepancy_is_the_mean_difference_of_probabilities():
    a, b = (
        torch.randn(6, 3, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in (0, 1)
    )
    p, q = (np.exp(x.numpy()) / np.exp(x.numpy()).sum(axis=1, keepdims=True) for x in (a, b))
    naive = sum(abs(p[i, k] - q[i, k]) for i in range(6) for k in range(3)) / 18
    assert float(discrepancy(a, b)) == pytest.approx(naive, rel=1e-12)


def test_the_second_head_is_like_the_first_with_weights_of_its_own(term):
    mcd, backbone = term
    first, second = backbone.head.state_dict(), mcd.second.state_dict()
    assert {name: value.shape for name, value in first.items()} == {n: v.shape for n, v in second.items()}
    assert not any(torch.equal(first[name], second[name]) for name in first)
    assert mcd.second.training


def test_each_part_has_its_own_value(term, views, step):
    mcd, _ = term
    a, b = views(torch.randn(4, 5), torch.randn(6, 5), classes=3)
    supervised = nn.functional.cross_entropy(mcd.second(a.features), a.labels)
    apart = discrepancy(b.logits, mcd.second(b.features))
    for phase, expected in (
        ("source", supervised),
        ("disagree", supervised - apart),
        ("agree", apart),
    ):
        torch.testing.assert_close(mcd(a, b, step()._replace(phase=phase)), expected)
    assert [phase.repeat for phase in mcd.phases] == [1, 1, 4]


@pytest.mark.parametrize("number", range(3))
def test_a_part_updates_what_it_should(number):
    """Gradients reach nothing else: Adam leaves what has none alone."""
    chosen = experiment(pair=TOY, align="mcd")
    data = dataset(chosen)
    model = objective(chosen, data.info)
    updated = Optimization(model, chosen.config.train, 1).params_of[model.phases[number]]
    parts = {
        "trunk": set(model.backbone.linear.parameters()),
        "head": set(model.backbone.head.parameters()),
        "second": set(model.losses["mcd"].parameters()),
    }
    expected = [{"trunk", "head", "second"}, {"head", "second"}, {"trunk"}][number]
    assert set(updated) == set().union(*(parts[name] for name in expected))


def test_both_heads_predict_and_are_saved(tmp_path):
    result = datk.run(pair=TOY, backbone="mlp", align="mcd", epochs=2, device="cpu", out=tmp_path / "run")
    state = Checkpoints(result.folder).load_selected()
    second = {name: value for name, value in state.items() if ".mcd.second." in name}
    first = {name: value for name, value in state.items() if ".backbone.head." in name}
    assert len(second) == len(first) > 0

    chosen = experiment(pair=TOY, align="mcd")
    data = dataset(chosen)
    model = objective(chosen, data.info, data.training.source_size, data.training.target_size)
    model.load_state_dict(
        {k.removeprefix("objective."): v for k, v in state.items() if k.startswith("objective.")}
    )
    rows = data.splits.target.test
    x = data.training.target.standardize(torch.from_numpy(data.pair.target.x[rows]))
    features = model.backbone.embed(x)["features"]
    logits = (model.backbone.head(features) + model.losses["mcd"].second(features)) / 2
    torch.testing.assert_close(model.predictor()(x), logits)
    accuracy = (logits.argmax(dim=1).numpy() == data.pair.answers(rows)).mean()
    assert result.metrics["target"]["test"]["accuracy"] == pytest.approx(accuracy)


def test_the_mean_of_heads():
    heads = nn.Linear(3, 2), nn.Linear(3, 2)
    x = torch.randn(4, 3)
    torch.testing.assert_close(MeanOfHeads(*heads)(x), (heads[0](x) + heads[1](x)) / 2)


def test_heads_that_agree_completely_have_a_finite_gradient():
    logits = torch.zeros(4, 2, requires_grad=True)
    torch.autograd.backward(discrepancy(logits, logits.detach()))
    assert logits.grad.isfinite().all()
