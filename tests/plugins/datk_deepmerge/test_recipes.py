"""Recipes say all that they rely on: no default of datk moves them."""

import pytest

from datk.config import plugins
from datk.config.resolve import resolve

RECIPES = sorted(plugin.name for plugin in plugins.find("recipe") if plugin.dist == "datk")
TRAINING = {
    "epochs": 200, "steps": None, "batch_size": 128, "optimizer": "adam", "betas": (0.7, 0.8), "eps": 1e-8,
    "schedule": "triangle", "patience": 0, "label_shift": "none",
    "select": {"name": "datk:source-validation-accuracy"},
    "augment": "none", "balance": None, "class_weights": "none",
}  # fmt: skip
MMD = {
    "weight": 1.0, "ramp": "constant", "bandwidths": None, "bandwidth": "fixed", "estimator": "biased",
    "kernels": "sum",
}  # fmt: skip
DANN = {
    "weight": 1.0, "ramp": "constant", "reversal": "constant", "coefficient": 1.0, "hidden": (1024, 1024),
    "dropout": 0.5,
}  # fmt: skip


def chosen(recipe):
    return resolve(recipe=recipe, to_run=False)


def test_there_are_ten_of_them():
    assert len(RECIPES) == 10


@pytest.mark.parametrize("recipe", RECIPES)
def test_training_and_data_are_those_of_the_paper(recipe):
    config = chosen(recipe).config
    assert {name: getattr(config.train, name) for name in TRAINING} == TRAINING
    assert (config.data.standardize, config.data.target_rows) == ("per-domain", "split")
    assert config.backbone == {"name": "datk:deepmerge", "batch_norm": "joint"}


@pytest.mark.parametrize("recipe", RECIPES)
def test_so_are_the_terms(recipe):
    for term in chosen(recipe).terms:
        expected = {"mmd": MMD, "dann": DANN}.get(term.label, {})
        assert {name: getattr(term.config, name) for name in expected} == expected
        assert term.config.ramp == "constant"
