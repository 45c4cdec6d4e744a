"""Logits and features of rows."""

import numpy as np
import pytest
import torch

from datk.training.predict import embed, outputs, predict
from tests import build
from tests.toys import TOYS


def prepared(backbone="deepmerge", **options):
    chosen = build.experiment(pair={"name": TOYS + "Toy", "shape": [2, 16, 16], **options}, backbone=backbone)
    data = build.dataset(chosen)
    return build.objective(chosen, data.info).backbone, data


def test_predictions_are_those_of_each_row_in_evaluation_mode():
    backbone, data = prepared(target_rows=600)
    backbone.train()
    target = data.training.target
    rows = np.arange(3, 600, 2)
    logits = predict(backbone, target, rows)
    assert backbone.training
    assert logits.shape == (len(rows), 2)
    backbone.eval()
    with torch.no_grad():
        one_by_one = [backbone(x) for row in rows for x, _ in target.in_order(np.array([row]))]
    np.testing.assert_allclose(logits, torch.cat(one_by_one), atol=1e-5)


def test_features_are_what_the_head_reads():
    backbone, data = prepared(target_rows=300)
    rows = np.arange(290)
    features = embed(backbone, data.training.target, rows)
    assert features.shape == (290, 128)
    assert features.dtype == np.float32
    with torch.no_grad():
        logits = backbone.head(torch.from_numpy(features))
    np.testing.assert_allclose(logits, predict(backbone, data.training.target, rows), atol=1e-5)


def test_a_layer_that_is_not_there():
    backbone, data = prepared()
    with pytest.raises(KeyError, match="latent"):
        embed(backbone, data.training.target, np.arange(3), layer="latent")


def test_every_part_has_its_own_mode_again():
    backbone, data = prepared()
    backbone.train()
    backbone.head.eval()
    modes = {name: part.training for name, part in backbone.named_modules()}
    assert len(set(modes.values())) == 2
    predict(backbone, data.training.target, np.arange(3))
    assert {name: part.training for name, part in backbone.named_modules()} == modes


def test_outputs_hold_features_and_logits_of_the_same_rows():
    backbone, data = prepared()
    source, rows = data.training.source, data.training.source.split.validation
    found = outputs(backbone, backbone, source, rows, data.training.validation_labels)
    np.testing.assert_array_equal(found.features, embed(backbone, source, rows))
    np.testing.assert_array_equal(found.logits, predict(backbone, source, rows))
    np.testing.assert_array_equal(found.labels, data.pair.source_labels[rows])
    assert outputs(backbone, backbone, data.training.target, rows).labels is None


def test_outputs_of_a_predictor_that_is_no_backbone_have_the_backbones_features():
    backbone, data = prepared()
    target, rows = data.training.target, np.arange(9)
    found = outputs(Doubled(backbone), backbone, target, rows)
    np.testing.assert_array_equal(found.features, embed(backbone, target, rows))
    np.testing.assert_array_equal(found.logits, 2 * predict(backbone, target, rows))
    assert backbone.training


class Doubled(torch.nn.Module):
    """Twice the logits of a backbone."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, x):
        assert not self.backbone.training
        return 2 * self.backbone(x)
