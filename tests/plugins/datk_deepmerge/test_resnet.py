import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torchvision.models import resnet18

from datk.base.errors import DataError
from datk.interfaces import PairInfo
from datk_deepmerge.resnet import ResNet18


def build(*shape, classes=2, **options):
    torch.manual_seed(0)
    pair = PairInfo(shape, tuple(f"class{k}" for k in range(classes)))
    return ResNet18(ResNet18.Config(**options), pair)


@pytest.fixture(scope="module")
def network():
    return build(3, 75, 75).eval()


def images(*shape, batch=2):
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(1))


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_the_sizes_are_those_of_the_paper(network):
    assert count(network) == 11_308_354
    assert count(network.trunk) == 11_176_512


def test_the_trunk_is_torchvisions(network):
    reference = resnet18(weights=None)
    reference.fc = nn.Identity()
    reference.load_state_dict(network.trunk.state_dict())
    x = images(3, 75, 75)
    torch.testing.assert_close(network.embed(x)["pooled"], reference.eval()(x))


def test_the_features_are_a_linear_bottleneck(network):
    layers = network.embed(images(3, 75, 75))
    weight, bias = network.bottleneck.parameters()
    features = layers["pooled"] @ weight.T + bias
    torch.testing.assert_close(layers["features"], features)
    assert layers["features"].shape == (2, 256)
    assert (layers["features"] < 0).any()
    weight, bias = network.head.parameters()
    torch.testing.assert_close(network(images(3, 75, 75)), features @ weight.T + bias)


def test_bottleneck_and_head_start_small(network):
    assert network.bottleneck.weight.std().item() == pytest.approx(0.005, rel=0.05)
    assert network.head.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert (network.bottleneck.bias == 0).all()
    assert (network.head.bias == 0).all()


def test_the_new_layers_learn_faster(network):
    groups = network.param_groups()
    assert [group.lr_mult for group in groups] == [1.0, 10.0, 10.0]
    assert [sum(p.numel() for p in group.params) for group in groups] == [11_176_512, 131_328, 514]
    assert sorted(id(p) for group in groups for p in group.params) == sorted(
        id(p) for p in network.parameters()
    )


@pytest.mark.parametrize(("shape", "classes", "bottleneck"), [((1, 32, 32), 3, 16), ((5, 40, 33), 2, 256)])
def test_other_channels_sizes_classes_and_bottlenecks(shape, classes, bottleneck):
    network = build(*shape, classes=classes, bottleneck=bottleneck).train()
    x = images(*shape)
    assert network.embed(x)["features"].shape == (2, bottleneck)
    assert network(x).shape == (2, classes)
    assert network.trunk.conv1.weight.std().item() == pytest.approx((2 / (64 * 7 * 7)) ** 0.5, rel=0.1)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((3, 31, 75), "images of 31 x 75 pixels"), ((7,), "feature vectors of length 7")],
)
def test_samples_that_cannot_work_are_refused(shape, message):
    with pytest.raises(DataError, match=f"resnet18 takes images of at least 32 x 32 pixels, not {message}"):
        build(*shape)


@pytest.mark.parametrize("options", [{"bottleneck": 0}, {"lr_mult": 0}])
def test_options_that_cannot_hold_are_refused(options):
    with pytest.raises(ValidationError):
        ResNet18.Config(**options)
