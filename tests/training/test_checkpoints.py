"""What training keeps in a run folder."""

import json
from pathlib import Path

import pytest
import torch

from datk.base.errors import RunError
from datk.training.checkpoints import Checkpoints, weights_checksum


@pytest.fixture
def files(tmp_path):
    """The files in a run folder."""
    (tmp_path / "checkpoints").mkdir()
    return Checkpoints(tmp_path)


def test_tied_weights_can_be_saved(files):
    shared = torch.randn(3, 4)
    state = {"a": shared, "b": shared, "c": shared.T, "d": shared[1]}
    files.save_selected(state)
    loaded = files.load_selected()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_lines_of_epochs_to_come_and_cut_lines_are_dropped(tmp_path, files):
    for epoch in (1, 1, 2, 2, 3):
        files.append_metrics({"kind": "step", "epoch": epoch})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "step", "epo')
    files.keep_metrics_until(2)
    files.append_metrics({"kind": "step", "epoch": 3})
    kept = [json.loads(line)["epoch"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert kept == [1, 1, 2, 2, 3]


def test_a_checkpoint_cannot_run_code(tmp_path, files):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"epoch": Trap()}, files.last)
    with pytest.raises(RunError, match=r"is damaged or no checkpoint of datk"):
        files.load_last(torch.device("cpu"))
    assert not (tmp_path / "sprung").exists()


def test_a_damaged_model_is_named(files):
    with pytest.raises(RunError, match=r"holds no trained model"):
        files.load_selected()
    files.selected.write_bytes(b"garbage")
    with pytest.raises(RunError, match=r"cannot be read"):
        files.load_selected()


def test_the_checksum_of_weights_sees_names_types_shapes_and_values():
    state = {"a": torch.arange(6.0), "b": torch.zeros(2)}
    same = {"b": torch.zeros(2), "a": torch.arange(6.0)}
    others = [
        {"a": torch.arange(6.0).view(2, 3), "b": torch.zeros(2)},
        {"a": torch.arange(6.0).double(), "b": torch.zeros(2)},
        {"c": torch.arange(6.0), "b": torch.zeros(2)},
        {"a": torch.arange(6.0), "b": torch.tensor([0.0, -0.0])},
    ]
    assert weights_checksum(same) == weights_checksum(state)
    assert len({weights_checksum(other) for other in [state, *others]}) == 5
    assert weights_checksum({"a": torch.zeros(3, 4).T}) == weights_checksum({"a": torch.zeros(4, 3)})
