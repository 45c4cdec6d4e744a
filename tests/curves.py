"""What a run wrote while it went on."""

import json

import torch

from datk.training.checkpoints import Checkpoints


def lines(folder, kind=None):
    """The records of metrics.jsonl, of one kind if it is given."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record for record in records if kind in (None, record["kind"])]


def curve(folder):
    """Terms of every step and validation of every epoch."""
    return torch.tensor(
        [
            value
            for line in lines(folder)
            for value in (line["terms"].values() if line["kind"] == "step" else [line["validation_loss"]])
        ]
    )


def weights(folder, owner="objective.backbone."):
    """What was selected, of the backbone or another owner, by name."""
    saved = Checkpoints(folder).load_selected()
    return {name.removeprefix(owner): tensor for name, tensor in saved.items() if name.startswith(owner)}


def same(found, expected):
    """Whether weights of the same names are the same to the last bit."""
    assert found.keys() == expected.keys()
    return all(torch.equal(found[name], expected[name]) for name in expected)
