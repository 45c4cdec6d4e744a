"""Logits and features of rows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from datk.config.models import DataConfig, TrainConfig
from datk.config.resolve import resolve
from datk.data.dataset import prepare
from datk.training.objective import Objective
from datk.training.predict import embed, predict

TOY = f"{Path(__file__).with_name('toys.py')}:Toy"


def prepared(**options):
    config = {"pair": {"name": TOY, "shape": [2, 16, 16], **options}, "backbone": "deepmerge"}
    chosen = resolve(config=config)
    data = prepare(chosen.pair.cls(chosen.pair.config), DataConfig(), TrainConfig(), 0, torch.device("cpu"))
    return Objective(chosen, data.info, 1, 1, 0).backbone, data


def test_predictions_are_those_of_each_row_in_evaluation_mode():
    backbone, data = prepared(target_rows=600)
    backbone.train()
    target = data.training.target
    rows = np.arange(3, 600, 2)
    logits = predict(backbone, target, rows)
    assert not backbone.training
    assert logits.shape == (len(rows), 2)
    with torch.no_grad():
        one_by_one = [backbone(x) for row in rows for x in target.in_order(np.array([row]))]
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
