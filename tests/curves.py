"""What a run wrote while it went on."""

import json

import torch


def curve(folder):
    """Terms of every step and validation of every epoch."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return torch.tensor(
        [
            value
            for line in lines
            for value in (line["terms"].values() if line["kind"] == "step" else [line["validation_loss"]])
        ]
    )
