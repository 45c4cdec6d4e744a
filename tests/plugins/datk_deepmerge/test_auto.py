"""The backbone that goes by the samples."""

import json

import pytest

import datk
from datk.config.resolve import built_backbone
from datk.interfaces import PairInfo
from tests import build
from tests.toys import TOYS


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        ((7,), "mlp"), ((3, 15, 40), "mlp"), ((1, 16, 16), "deepmerge"), ((3, 128, 100), "deepmerge"),
        ((3, 64, 129), "resnet18"), ((1, 224, 224), "resnet18"),
    ],
)  # fmt: skip
def test_which_one_it_is(shape, name):
    auto = build.experiment(backbone="auto").backbone
    assert built_backbone(auto, PairInfo(shape, ("a", "b"))).label == name


@pytest.mark.parametrize(("shape", "name"), [([6], "mlp"), ([2, 16, 16], "deepmerge")])
def test_a_run_is_that_of_the_chosen_one_and_goes_on(tmp_path, shape, name):
    """From the same weights, too; its configuration asks for auto again."""
    runs = [build.run(tmp_path / each, backbone=each, pair={"shape": shape}) for each in ("auto", name)]
    assert [result.backbone for result in runs] == [name, name]
    assert runs[0].weights_sha256 == runs[1].weights_sha256
    assert json.loads((tmp_path / "auto" / "config.json").read_text())["backbone"]["name"] == "datk:auto"
    again = datk.run(out=tmp_path / "auto", resume=True)
    assert again.weights_sha256 == runs[0].weights_sha256
    assert datk.run(pair=TOYS + "Toy", epochs=1, out=tmp_path / "default", align="none").backbone == "mlp"
