"""Pairs and backbones of others that give what they must not: told with component and attribute or method."""

import json
from pathlib import Path

import pytest

import datk as toolkit
from datk.base.errors import DatkError
from tests.bad_input.conftest import as_flags

MINE = '''
import numpy as np
import torch
from torch import nn
from datk.interfaces import Backbone, ComponentConfig, DomainPair, Samples

ROWS = np.arange(60)

class OddConfig(ComponentConfig):
    give: str = "dict()"

class Odd(DomainPair):
    """Gives what an expression says."""
    Config = OddConfig

    def __init__(self, config):
        x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
        given = eval(config.give)
        of_source = {key: given.pop(key) for key in ("x", "groups", "test", "domain") if key in given}
        self.source = Samples(**{"x": x, **of_source})
        self.target = Samples(x)
        self.source_labels, self.classes, self.given = ROWS % 2, ("a", "b"), ROWS % 2
        for name, value in given.items():
            setattr(self, name, value)

    def answers(self, rows):
        return self.given[rows] if len(self.given) == 60 else self.given

class Net(Backbone):
    """Gives what an expression says."""
    Config = OddConfig

    def __init__(self, config, pair):
        super().__init__(config, pair)
        self.trunk, self.give = nn.Linear(*pair.shape, 3), config.give
        self.head = nn.Linear(3, 7 if config.give == "wide" else pair.outputs)

    def embed(self, x):
        features = self.trunk(x)
        if self.give == "bare":
            return features
        return {"features": features if self.give == "wide" else eval(self.give)}
'''

PAIRS = {
    "dict(test=ROWS % 2)": ["source.test must be booleans", "int64", "test.astype(bool)"],
    "dict(test=ROWS)": ["source.test must be booleans", "int64"],
    "dict(groups=ROWS.astype(str))": ["source.groups must be whole numbers", "strings"],
    "dict(groups=np.where(ROWS, 1.0, np.nan))": ["source.groups must be whole numbers", "float64"],
    "dict(groups=ROWS / 1)": ["source.groups must be whole numbers", "astype(numpy.int64)"],
    "dict(x=np.zeros((60, 4), complex))": ["source.x holds complex numbers"],
    "dict(x=np.zeros((60, 4), object))": ["source.x holds Python objects"],
    "dict(x=np.zeros((60, 4), 'M8[s]'))": ["source.x holds datetime64"],
    "dict(x=np.zeros((60, 4), [('a', 'f4')]))": ["source.x holds records"],
    "dict(x=torch.zeros(60, 4))": ["source.x must be an array", "Tensor"],
    "dict(source_labels=ROWS % 2 + 0.5)": ["source_labels", "float64"],
    "dict(source_labels=np.where(ROWS, ROWS % 2, np.nan))": ["source_labels", "float64"],
    "dict(source_labels=np.array(['a', 'b'] * 30))": ["source_labels", "strings"],
    "dict(source_labels=ROWS % 3)": ["source_labels", "0..1"],
    "dict(source_labels=[0, 1] * 30)": ["source_labels", "list"],
    "dict(classes=('a', 'a'))": ["classes names 'a' twice"],
    "dict(classes=(0, 1))": ["classes must be strings", "int"],
    "dict(classes='ab')": ["classes must be a tuple", "str"],
    "dict(notes='synthetic')": ["notes must be a tuple", "str"],
    "dict(sources=('a', 'b'), domain=ROWS % 3)": ["domain must hold each of the whole numbers 0..1"],
    "dict(given=ROWS % 2 + 7)": ["answers", "0..1"],
    "dict(given=ROWS % 2 + 0.5)": ["answers"],
    "dict(given=np.array(['a', 'b'] * 30))": ["answers", "strings"],
    "dict(given=ROWS[:5] % 2)": ["answers", "shape [5]"],
    "dict(given=np.zeros((60, 2), int))": ["answers", "2]"],
}
BACKBONES = {
    "wide": ["the head gives shape [7] a row", "2 numbers"],
    "bare": ["embed must return a dictionary", "Tensor"],
    "features[:1]": ["embed gives layer 'features' of shape [1, 3] for 3 rows"],
    "features.long()": ["embed gives layer 'features' of torch.int64"],
    "features.detach().numpy()": ["embed gives layer 'features' as ndarray"],
    "features[:, :, None]": ["embed must return 'features' of shape [B, D]"],
}


@pytest.fixture
def refused_component(datk, tmp_path, monkeypatch):
    """Demands that the program and the function refuse what a component gives, with the telling words."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)

    def refused(telling, pair="dict()", backbone="features"):
        arguments = {
            "pair": "./mine.py:Odd",
            "backbone": "./mine.py:Net",
            "epochs": 1,
            "device": "cpu",
            "out": "run",
            "set": {"pair.give": pair, "backbone.give": backbone, "train.batch_size": 16},
        }
        outcome = datk(*as_flags(arguments))
        assert outcome.code == 2, outcome
        assert outcome.err.splitlines()[-1].startswith("error: ")
        assert not Path("run/result.json").exists()
        with pytest.raises(DatkError) as caught:
            toolkit.run(**arguments | {"out": "again"})
        for message in (outcome.err, str(caught.value)):
            assert [words for words in telling if words not in message] == [], message

    return refused


@pytest.mark.parametrize("give", PAIRS)
def test_pairs(refused_component, give):
    refused_component(["Odd", *PAIRS[give]], pair=give)


@pytest.mark.parametrize("give", BACKBONES)
def test_backbones(refused_component, give):
    refused_component(["Net", *BACKBONES[give]], backbone=give)


def test_what_is_sound_runs(datk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    odd = "classes=np.array(['a', 'b']), given=(ROWS % 2).astype('>i2')"
    give = f"dict(groups=-(ROWS // 2), test=ROWS >= 40, {odd})"
    options = {"pair.give": give, "backbone.give": "features", "train.batch_size": 16}
    parts = {"pair": "./mine.py:Odd", "backbone": "./mine.py:Net", "epochs": 1, "device": "cpu", "out": "run"}
    outcome = datk(*as_flags(parts | {"set": options}))
    assert outcome.code == 0, outcome
    assert json.loads(Path("run/result.json").read_text())["metrics"]["target"]["test"]["n"]
