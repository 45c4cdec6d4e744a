"""Every installed component keeps the interface."""

import numpy as np
import pytest
import torch

from datk.config import plugins
from datk.testing import assert_conforms, check
from datk_discrepancy.mmd import MMD

INSTALLED = [plugin for kind in plugins.COMPONENTS for plugin in plugins.find(kind)]


def test_the_shipped_components_are_found():
    names = {plugin.name for plugin in INSTALLED if plugin.dist == "datk"}
    assert names == {
        *("deepmerge", "resnet18", "mlp"),
        *(
            "auto",
            "none",
            "mmd",
            "coral",
            "dann",
            "cdan",
            "mcd",
            "sidda",
            "mcc",
            "shot",
            "fixmatch",
            "mean-teacher",
        ),
        *("fisher", "entropy"),
        *("arrays", "mock-mergers", "illustris-simsim", "illustris-sdss"),
        *("source-validation-loss", "source-validation-accuracy", "last", "oracle"),
        *("classification", "regression"),
    }


@pytest.mark.parametrize("plugin", INSTALLED, ids=lambda plugin: f"{plugin.kind}-{plugin.name}")
def test_every_installed_component_conforms(plugin):
    assert_conforms(plugins.load(plugin))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mmd", {"bandwidth": "median", "estimator": "unbiased"}),
        ("cdan", {"entropy": True, "randomized": "always"}),
        ("entropy", {"domains": "target"}),
        ("fisher", {"form": "difference"}),
        ("deepmerge", {"batch_norm": "by-domain"}),
        ("mlp", {"dropout": 0.5}),
    ],
)
def test_components_conform_with_other_options(name, options):
    (plugin,) = (plugin for plugin in INSTALLED if plugin.name == name)
    assert_conforms(plugins.load(plugin), **options)


def test_checks_leave_no_trace():
    """Neither in random states nor in how torch computes."""
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    mode = torch.get_deterministic_debug_mode()
    assert all(fault is None for _, fault in check(MMD))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert torch.get_deterministic_debug_mode() == mode
