"""What a backbone must give, whoever wrote it."""

import pytest
import torch
from torch import nn

from datk.base.errors import PluginError
from datk.interfaces import Backbone, PairInfo, ParamGroup
from datk.training.contracts import one_loss
from datk.training.network_contract import check_groups, layer_shapes

PAIR = PairInfo((6,), ("a", "b"), outputs=2)


class Net(Backbone):
    """A sound backbone."""

    def __init__(self, config=None, pair=PAIR):
        super().__init__(config, pair)
        self.trunk, self.head = nn.Linear(6, 4), nn.Linear(4, 2)

    def embed(self, x):
        return {"features": self.trunk(x)}


def embeds(embed):
    return type("Odd", (Net,), {"embed": embed})()


def headed(head):
    net = Net()
    net.head = head
    return net


class Says(nn.Module):
    def __init__(self, say):
        super().__init__()
        self.say = say

    def forward(self, features):
        return self.say(features)


def test_a_sound_backbone():
    assert layer_shapes("net", Net(), PAIR) == {"features": (4,)}
    check_groups("net", Net())


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (embeds(lambda self, x: x), r"embed must return a dictionary of layers.* not Tensor"),
        (embeds(lambda self, x: None), r"embed must return a dictionary .*not NoneType"),
        (embeds(lambda self, x: {"feature": x}), r"embed must return 'features' of shape \[B, D\]"),
        (embeds(lambda self, x: {"features": x[:, None]}), r"'features' of shape \[B, D\], not of shape"),
        (embeds(lambda self, x: {"features": x.flatten()[None]}), r"embed gives layer 'features' of shape"),
        (embeds(lambda self, x: {"features": torch.zeros(3, 4)}), r"shape \[3, 4\] for 2 rows"),
        (embeds(lambda self, x: {"features": x.mean()}), r"of shape \[\] for 3 rows"),
        (embeds(lambda self, x: {"features": x.long()}), r"layer 'features' of torch\.int64; give float"),
        (embeds(lambda self, x: {"features": x + 0j}), r"layer 'features' of torch\.complex64; give float"),
        (embeds(lambda self, x: {"features": x.numpy()}), r"layer 'features' as ndarray, not as a tensor"),
        (embeds(lambda self, x: {"features": x[:, :4], "a": x[:1]}), r"layer 'a' of shape \[1, 6\] for 3"),
        (embeds(lambda self, x: {"features": x[:, :4], 3: x}), r"by names that are strings, not 3"),
        (headed(nn.Linear(4, 7)), r"the head gives shape \[7\] a row, not pair\.outputs = 2 numbers"),
        (headed(Says(lambda f: f.mean(dim=1))), r"the head gives shape \[\] a row"),
        (headed(Says(lambda f: f[:1, :2])), r"the head gives logits of shape \[1, 2\] for 3 rows"),
        (headed(Says(lambda f: f[:, :2].long())), r"the head gives logits of torch\.int64"),
        (headed(Says(lambda f: (f, f))), r"the head gives logits as tuple"),
        (headed(None), r"__init__ must set self\.head"),
    ],
)
def test_faults_are_told_with_backbone_and_method(net, message):
    with pytest.raises(PluginError, match=message) as caught:
        layer_shapes("net", net, PAIR)
    assert "backbone 'net'" in str(caught.value)


def test_a_forward_of_its_own_gives_logits_too():
    class Labels(Net):
        def forward(self, x, domain=None):
            return super().forward(x, domain).argmax(dim=1)

    with pytest.raises(PluginError, match=r"backbone 'net': forward gives logits of torch\.int64"):
        layer_shapes("net", Labels(), PAIR)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (lambda net: list(net.parameters()), r"a list of ParamGroup, not list of Parameter"),
        (lambda net: None, r"a list of ParamGroup, not NoneType"),
        (lambda net: [ParamGroup([p.data for p in net.parameters()])], r"parameters, not list of Tensor"),
        (
            lambda net: [ParamGroup(list(net.parameters()), lr_mult=-1)],
            r"a lr_mult that is 0 or more, not -1",
        ),
        (
            lambda net: [ParamGroup(list(net.parameters()), weight_decay=float("nan"))],
            r"weight_decay.* not nan",
        ),
        (lambda net: [ParamGroup(list(net.head.parameters()))], r"lists parameter 'trunk\.weight' 0 times"),
    ],
)
def test_groups_that_cannot_be_trained(groups, message):
    net = type("Grouped", (Net,), {"param_groups": groups})()
    with pytest.raises(PluginError, match=message) as caught:
        check_groups("net", net)
    assert str(caught.value).startswith("net: param_groups()")


def test_what_is_minimised_is_of_floating_point():
    with pytest.raises(PluginError, match=r"loss term 'a' gives a number of torch\.int64; give a floating"):
        one_loss(torch.tensor(3), "loss term 'a'")
