"""Heads: other weights for one like another, other heads for a trunk."""

import copy

import pytest
import torch
from torch import nn

from datk.interfaces import Backbone, PairInfo
from datk.nn import mlp, reinitialized, with_head
from datk_deepmerge.cnn import DeepMerge
from datk_deepmerge.mlp import MLP


class Scaled(nn.Module):
    """Weights that no module resets, and a gain that is constant."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(3 + 0.1 * torch.randn(40, 50))
        self.gain = nn.Parameter(torch.ones(50))
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, features):
        return self.scale * self.gain * (features @ self.weight)


def other(module, seed=0):
    """A copy with other weights, and the parameters of both by name."""
    torch.manual_seed(seed)
    made = reinitialized(copy.deepcopy(module))
    return made, dict(made.named_parameters()), dict(module.named_parameters())


@pytest.mark.parametrize("norm", [None, nn.BatchNorm1d(6), nn.LayerNorm(6)])
def test_layers_draw_as_they_were_built_to(norm):
    head = nn.Sequential(nn.Linear(8, 6), *([] if norm is None else [norm]), nn.ReLU(), nn.Linear(6, 3))
    for parameter in head.parameters():
        nn.init.constant_(parameter, 5.0)
    _, new, _ = other(head)
    torch.manual_seed(0)
    expected = copy.deepcopy(head)
    for layer in expected:
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    assert all(torch.equal(new[name], p) for name, p in expected.named_parameters())
    assert all(float(p.detach().max()) <= 1 for p in new.values())


def test_other_parameters_are_drawn_with_their_mean_and_deviation():
    made, new, old = other(Scaled())
    weight = made.weight.detach()
    assert (weight != old["weight"]).all()
    assert float(weight.mean()) == pytest.approx(3, abs=0.01)
    assert float(weight.std()) == pytest.approx(0.1, rel=0.1)
    assert torch.equal(new["gain"], old["gain"])
    assert torch.equal(new["scale"], old["scale"])


def test_weights_that_are_computed_of_others_change_too():
    """Normalised weights are not parameters, so that resetting them changes nothing."""
    head = nn.utils.parametrizations.weight_norm(nn.Linear(8, 5))
    made, new, old = other(head)
    assert not torch.equal(made.weight, head.weight)
    assert not any(torch.equal(new[name], old[name]) for name in old if "original1" in name or "bias" in name)
    torch.testing.assert_close(made.weight.norm(dim=1), new["parametrizations.weight.original0"].squeeze(1))


def test_a_part_whose_reset_does_not_reach_all():
    class Half(nn.Linear):
        def reset_parameters(self):
            nn.init.normal_(self.weight)

    head = Half(8, 5)
    with torch.no_grad():
        head.bias.copy_(torch.arange(5.0))
    _, new, old = other(head)
    assert not torch.equal(new["weight"], old["weight"])
    assert not torch.equal(new["bias"], old["bias"])


def test_draws_follow_the_seed_and_the_module_is_the_same():
    head = mlp([4, 8, 3])
    assert reinitialized(head) is head
    states = [other(head, seed)[1] for seed in (0, 0, 1)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not any(torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_a_trunk_with_another_head():
    torch.manual_seed(0)
    backbone = MLP(MLP.Config(hidden=(5,)), PairInfo((6,), ("a", "b")))
    head = nn.Linear(5, 4)
    joint = with_head(backbone, head)
    x = torch.randn(7, 6)
    assert isinstance(joint, Backbone)
    assert joint.head is head
    torch.testing.assert_close(joint(x), head(backbone.embed(x)["features"]))
    assert joint.embed(x).keys() == backbone.embed(x).keys()
    with torch.no_grad():
        backbone.linear[0].weight.mul_(2)
    torch.testing.assert_close(joint(x), head(backbone.embed(x)["features"]))
    joint.eval()
    assert not backbone.training
    assert not backbone.linear[0].training


def test_a_trunk_by_domain_is_told_the_domain():
    torch.manual_seed(0)
    info = PairInfo((1, 16, 16), ("a", "b"))
    backbone = DeepMerge(DeepMerge.Config(batch_norm="by-domain"), info)
    x, domain = torch.randn(6, 1, 16, 16), torch.tensor([0, 0, 0, 1, 1, 1])
    backbone(x, domain)  # moves the running statistics apart
    joint = with_head(backbone, nn.Linear(backbone.head[0].in_features, 3)).eval()
    assert joint.by_domain
    features = backbone.layers_of(x, domain)["features"]
    torch.testing.assert_close(joint(x, domain), joint.head(features))
    assert not torch.allclose(joint(x, domain), joint(x, 1 - domain))
    with pytest.raises(ValueError, match="domain"):
        joint(x)
