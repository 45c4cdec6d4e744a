import pytest
import torch
from pydantic import ValidationError

from datk.interfaces import PairInfo
from datk_deepmerge.mlp import MLP


def build(*shape, classes=2, **options):
    torch.manual_seed(0)
    return MLP(MLP.Config(**options), PairInfo(shape, tuple(f"class{k}" for k in range(classes))))


def samples(*shape, batch=4):
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(1))


def test_the_layers_follow_each_other_as_written_by_hand():
    network = build(5, hidden=(7, 6), classes=3)
    x = samples(5)
    p = list(network.parameters())
    hidden1 = (x @ p[0].T + p[1]).clamp_min(0)
    hidden2 = (hidden1 @ p[2].T + p[3]).clamp_min(0)

    layers = network.embed(x)

    assert list(layers) == ["hidden1", "hidden2", "features"]
    torch.testing.assert_close(layers["hidden1"], hidden1)
    torch.testing.assert_close(layers["features"], hidden2)
    torch.testing.assert_close(network(x), hidden2 @ p[4].T + p[5])


@pytest.mark.parametrize("shape", [(12,), (3, 2, 2)])
def test_images_are_flattened(shape):
    network = build(*shape, hidden=(8,))
    x = samples(*shape)
    torch.testing.assert_close(network(x), network(x.reshape(4, 12)))


def test_dropout_acts_on_what_is_read_and_only_in_training():
    network = build(5, hidden=(50, 50), dropout=0.5)
    x = samples(5)
    layers = network.embed(x)
    torch.testing.assert_close(layers["hidden1"], (network.linear[0](x)).relu())
    assert (network.embed(x)["features"] != layers["features"]).any()
    assert (network.head(layers["features"]) != network.head(layers["features"])).any()
    network.eval()
    torch.testing.assert_close(network(x), network(x))


def test_every_parameter_is_trained_once():
    network = build(5, hidden=(7, 6))
    trained = [id(p) for group in network.param_groups() for p in group.params]
    assert sorted(trained) == sorted(id(p) for p in network.parameters())
    assert len(trained) == 6


@pytest.mark.parametrize("options", [{"hidden": ()}, {"hidden": (4, 0)}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_options_that_cannot_hold_are_refused(options):
    with pytest.raises(ValidationError):
        MLP.Config(**options)
