"""What a resumed run takes up besides weights and moments: the scale of float16, and the time it took."""

import json
import time

import pytest
import torch

from datk.runs.result import read_result
from tests.build import run, trainer
from tests.curves import lines

OPTIONS = {"precision": "float16", "save_every": 0, "schedule": "constant", "log_every": 1}


def with_scale(training, scale):
    """Let the scale begin with another value and double at each step."""
    training.optimization.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=1)
    return training


def scale(training):
    return training.optimization.scaler.get_scale()


def test_the_scale_of_float16_is_taken_up(tmp_path):
    first = with_scale(trainer(tmp_path / "run", epochs=2, **OPTIONS), 8.0)
    first.train_epoch()
    reached = scale(first)
    assert reached == 8.0 * 2**first.steps_per_epoch
    first._write_checkpoints()
    (tmp_path / "run").rename(tmp_path / "kept")
    again = trainer(tmp_path / "run", epochs=2, **OPTIONS)
    assert scale(again) not in (8.0, reached)
    again.files.last = tmp_path / "kept" / "checkpoints" / "last.pt"
    again._resume()
    assert scale(again) == reached
    assert again.optimization.state()["scaler"] == first.optimization.state()["scaler"]


def test_a_resumed_run_in_float16_ends_as_one_that_never_stopped(tmp_path, monkeypatch):
    """The scale decides which steps are left out: it starts so high that some are."""
    made = torch.amp.GradScaler

    def high(device, enabled):
        return made(device, init_scale=2.0**40, growth_interval=3, enabled=enabled)

    monkeypatch.setattr(torch.amp, "GradScaler", high)
    whole = run(tmp_path / "whole", epochs=8, patience=0, select="last", **OPTIONS)

    def stopped(self, record):
        stop.append(record)
        if record["kind"] == "epoch" and record["epoch"] == 5:
            raise KeyboardInterrupt

    stop = []
    with monkeypatch.context() as patch:
        patch.setattr("datk.training.checkpoints.Checkpoints.append_metrics", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "run", epochs=8, patience=0, select="last", **OPTIONS)
    again = run(tmp_path / "run", epochs=8, patience=0, select="last", resume=True, **OPTIONS)
    assert again.weights_sha256 == whole.weights_sha256
    assert len(stop) > 5


def test_the_time_of_a_run_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    """Its clock is set: an epoch takes 100 seconds, and what lies between two starts counts nothing."""
    now = [0.0]

    def tick():
        now[0] += 50.0
        return now[0]

    def stopped(self, record):
        if record["kind"] == "epoch" and record["epoch"] == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "perf_counter", tick)
    with monkeypatch.context() as patch:
        patch.setattr("datk.training.checkpoints.Checkpoints.append_metrics", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "run", epochs=4, save_every=0)
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)
    assert (state["epoch"], state["seconds"]) == (2, 100.0)
    now[0] = 1e6
    result = run(tmp_path / "run", epochs=4, save_every=0, resume=True)
    assert result.seconds == 200.0
    assert result.seconds_per_epoch == 50.0
    assert read_result(tmp_path / "run").seconds == 200.0
    assert [record["seconds"] for record in lines(tmp_path / "run", "epoch")] == [150.0, 200.0]
    assert json.loads((tmp_path / "run" / "result.json").read_text())["epochs"] == 4
