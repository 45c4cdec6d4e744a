"""Every installed component keeps the interface, and the checks notice those that do not."""

import pytest
import torch

from datk.config import plugins
from datk.interfaces import AlignmentLoss, Backbone, TermConfig
from datk.testing import ToyPair, assert_conforms, check
from datk_discrepancy.mmd import MMD

INSTALLED = [plugin for kind in plugins.COMPONENTS for plugin in plugins.find(kind)]


def test_the_shipped_components_are_found():
    names = {plugin.name for plugin in INSTALLED if plugin.dist == "datk"}
    shipped = {"deepmerge", "resnet18", "mlp", "none", "mmd", "coral", "dann", "fisher", "entropy", "arrays"}
    assert names == shipped | {"mock-mergers", "illustris-simsim", "illustris-sdss"}


@pytest.mark.parametrize("plugin", INSTALLED, ids=lambda plugin: f"{plugin.kind}-{plugin.name}")
def test_every_installed_component_conforms(plugin):
    assert_conforms(plugins.load(plugin))


def test_the_toy_pair_conforms():
    assert_conforms(ToyPair)


def faults(cls):
    return {name: fault for name, fault in check(cls) if fault is not None}


class Undocumented(TermConfig):
    knob: float = 1.0


class ReadsValues(AlignmentLoss):
    """Calls item() in forward."""

    Config = Undocumented

    def forward(self, source, target, step):
        return source.features.mean() * source.features.max().item()


class Vector(AlignmentLoss):
    """Gives a vector."""

    def forward(self, source, target, step):
        return source.features.mean(dim=1)


class Forgetful(AlignmentLoss):
    """Lists none of its parameters."""

    def __init__(self, config, model):
        super().__init__(config, model)
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, source, target, step):
        return self.scale * source.features.mean()

    def param_groups(self):
        return []


class Sum(AlignmentLoss):
    """A sum over the batch that does not say so."""

    def forward(self, source, target, step):
        return source.features.sum()


class Featureless(Backbone):
    """Returns its features under another name."""

    def __init__(self, config, pair):
        super().__init__(config, pair)
        self.head = torch.nn.Linear(2, len(pair.classes))

    def embed(self, x):
        return {"latent": x.flatten(1)[:, :2]}


@pytest.mark.parametrize(
    ("cls", "check_name", "word"),
    [
        (ReadsValues, "stays on the device", "reads values"),
        (ReadsValues, "every option is documented", "knob"),
        (Vector, "gives a 0-d float32 tensor", "tensor("),
        (Sum, "is a mean over rows, or says over_batch = True", "on average of its halves"),
        (Forgetful, "every parameter is in one group", "scale"),
        (Featureless, "embed gives features [B, D] on [3, 75, 75]", "features"),
        (int, "is a component", "no Backbone"),
    ],
)
def test_a_component_that_breaks_a_rule_is_noticed(cls, check_name, word):
    assert word in faults(cls)[check_name]


def test_a_conforming_component_has_no_faults():
    assert faults(MMD) == {}
