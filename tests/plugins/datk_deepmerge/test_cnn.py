import pytest
import torch
from torch.nn import functional as F

from datk.base.errors import DataError
from datk.interfaces import PairInfo
from datk_deepmerge.cnn import DeepMerge


def build(*shape, classes=2):
    torch.manual_seed(0)
    return DeepMerge(DeepMerge.Config(), PairInfo(shape, tuple(f"class{k}" for k in range(classes))))


def images(network_shape, batch=3):
    return torch.randn(batch, *network_shape, generator=torch.Generator().manual_seed(1))


def test_the_sizes_are_those_of_the_paper():
    network = build(3, 75, 75)
    assert sum(p.numel() for p in network.parameters()) == 174_626
    assert sum(p.numel() for p in network.trunk.parameters()) == 6_528
    features = network.embed(images((3, 75, 75)))["features"]
    assert features.shape == (3, 2592)
    assert (features >= 0).all()


@pytest.mark.parametrize("training", [True, False])
def test_the_layers_follow_each_other_as_written_by_hand(training):
    network = build(3, 75, 75).train(training)
    x = images((3, 75, 75))
    p = list(network.parameters())
    running = [buffer.clone() for buffer in network.buffers() if buffer.ndim]

    z = x
    for block, padding in enumerate((2, 1, 1)):
        weight, bias, gamma, beta = p[4 * block : 4 * block + 4]
        mean, variance = running[2 * block : 2 * block + 2]
        z = F.conv2d(z, weight, bias, padding=padding)
        z = F.batch_norm(z, mean, variance, gamma, beta, training=training)
        z = F.max_pool2d(F.relu(z), 2)
    features = z.reshape(3, 32 * 9 * 9)
    logits = F.relu(F.linear(features, p[12], p[13]))
    logits = F.linear(F.relu(F.linear(logits, p[14], p[15])), p[16], p[17])

    torch.testing.assert_close(network.embed(x)["features"], features)
    torch.testing.assert_close(network(x), logits)


@pytest.mark.parametrize(
    ("shape", "features", "classes"),
    [
        ((3, 16, 16), 128, 2),
        ((1, 17, 40), 32 * 2 * 5, 3),
        ((5, 23, 24), 32 * 2 * 3, 2),
        ((3, 64, 64), 2048, 10),
    ],
)
def test_other_sizes_channels_and_classes(shape, features, classes):
    network = build(*shape, classes=classes)
    x = images(shape)
    assert network.embed(x)["features"].shape == (3, features)
    assert network(x).shape == (3, classes)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 15, 75), "images of 15 x 75 pixels"),
        ((3, 75, 8), "images of 75 x 8 pixels"),
        ((12,), "feature vectors of length 12"),
        ((1, 3, 75, 75), r"samples of shape \(1, 3, 75, 75\)"),
    ],
)
def test_samples_that_cannot_work_are_refused(shape, message):
    with pytest.raises(DataError, match=f"deepmerge takes images of at least 16 x 16 pixels, not {message}"):
        build(*shape)


def test_every_parameter_is_trained_once():
    network = build(3, 16, 16)
    trained = [id(p) for group in network.param_groups() for p in group.params]
    assert sorted(trained) == sorted(id(p) for p in network.parameters())
    assert [group.lr_mult for group in network.param_groups()] == [1.0]


def test_pooling_before_relu_changes_no_bit():
    """Of features and gradients, where windows are negative throughout and where values are equal."""
    network, paper = build(3, 19, 20), build(3, 19, 20)
    for block in list(paper.trunk)[:3]:
        block[2], block[3] = block[3], block[2]
        assert isinstance(block[2], torch.nn.ReLU)
    x = images((3, 19, 20), batch=5).round()
    x[0] = 0.0
    found, expected = network.embed(x)["features"], paper.embed(x)["features"]
    assert torch.equal(found, expected)
    assert (found == 0).any()
    weights = torch.randn(found.shape)
    for features in (found, expected):
        (weights * features).sum().backward()
    for mine, theirs in zip(network.trunk.parameters(), paper.trunk.parameters(), strict=True):
        assert torch.equal(mine.grad, theirs.grad)
