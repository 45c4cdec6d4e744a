"""Runs that begin well and fail: a loss turns NaN, the disk fills up. What was kept stays good."""

import errno
import os
import resource
from pathlib import Path

import pytest
import safetensors.torch
import torch

import datk as toolkit
from datk.base.errors import RunError

LOSSES = """
import os
import resource

import torch
from datk.interfaces import AlignmentLoss

class TurnsNaN(AlignmentLoss):
    def forward(self, source, target, step):
        value = source.features.square().mean()
        return torch.where(step.progress > 0.5, torch.full_like(value, float("nan")), value)

class LimitsFiles(AlignmentLoss):
    epoch = 0

    def on_epoch_start(self, backbone, rows):
        self.epoch += 1
        if self.epoch == 2 and "LIMIT" in os.environ:
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(os.environ["LIMIT"]), resource.RLIM_INFINITY))

    def forward(self, source, target, step):
        return (source.features.mean() - target.features.mean()).square()
"""


@pytest.fixture(autouse=True)
def _losses(tmp_path):
    (tmp_path / "losses.py").write_text(LOSSES)


def good_after_one_epoch() -> bool:
    """Whether the run folder is that of a run that was cut off after its first epoch."""
    assert not Path("run/result.json").exists()
    assert list(Path("run").rglob("*.part")) == []
    assert torch.load("run/checkpoints/last.pt", weights_only=True)["epoch"] == 1
    kept = safetensors.torch.load_file("run/checkpoints/selected.safetensors")
    return all(bool(tensor.isfinite().all()) for tensor in kept.values())


def test_a_loss_that_becomes_nan(call):
    changes = {"align": "./losses.py:TurnsNaN", "epochs": 3, "set": {"train.log_every": 1}}
    outcome = call(**changes)
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1] == (
        "error: loss term 'TurnsNaN' became nan at step 6 (epoch 2); epoch 1 is kept in checkpoints; "
        "lower train.lr or the term's weight"
    )
    assert good_after_one_epoch()
    again = call(**changes, resume=True)
    assert again.code == 2
    assert "at step 6" in again.err


def test_of_two_errors_the_first_is_told(call, monkeypatch):
    """The disk is full when a run that went wrong wants to keep what was good."""

    def full(self, state):
        raise RunError("cannot write run/checkpoints/last.pt: no space left")

    monkeypatch.setattr("datk.training.checkpoints.Checkpoints.save_last", full)
    outcome = call(align="./losses.py:TurnsNaN", epochs=3)
    assert outcome.code == 2
    assert "loss term 'TurnsNaN' became nan" in outcome.err.splitlines()[-1]
    lost = "the last checkpoints are lost: cannot write run/checkpoints/last.pt: no space left"
    assert lost in Path("run/log.txt").read_text()


@pytest.fixture
def unlimited():
    """Puts the limit on the size of files back."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def put_back():
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    yield put_back
    put_back()


@pytest.mark.parametrize("limit", [100, 1000, 100_000])
def test_files_that_cannot_be_written_to_the_end(call, change, monkeypatch, unlimited, limit):
    """Real writes fail in the second epoch, of the log or of a checkpoint, after some bytes."""
    changes = {"align": "./losses.py:LimitsFiles", "epochs": 2, "set": {"train.save_every": 0}}
    whole = toolkit.run(**change(**changes, out="whole"))
    monkeypatch.setenv("LIMIT", str(limit))
    outcome = call(**changes)
    unlimited()
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith("error: cannot write run/")
    assert "Traceback" not in outcome.err
    assert good_after_one_epoch()
    monkeypatch.delenv("LIMIT")
    assert toolkit.run(**change(**changes), resume=True).weights_sha256 == whole.weights_sha256


def test_a_disk_that_fills_up(call, monkeypatch):
    """Whichever file is the first that does not fit: no part of it stays, and the run can be resumed."""
    sync, written = os.fsync, []

    def full(descriptor):
        if len(written) == fitting:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(descriptor)
        sync(descriptor)

    for fitting in range(20):
        written.clear()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            outcome = call(epochs=2, out=f"run{fitting}")
        if outcome.code == 0:
            break
        assert outcome.code == 2
        last = outcome.err.splitlines()[-1]
        assert last.startswith(f"error: cannot write run{fitting}")
        assert "the disk is full" in last
        assert list(Path(f"run{fitting}").rglob("*.part")) == []
        assert not Path(f"run{fitting}/result.json").exists()
        begun = Path(f"run{fitting}").is_dir()  # a folder that nothing came into is removed
        assert begun == (fitting > 0)
        resumed = call(epochs=2, out=f"run{fitting}", **({"resume": True} if begun else {}))
        assert resumed.code == 0, resumed.err
    assert fitting > 5, "configuration, environment, splits, two checkpoints an epoch, result"


def test_a_place_that_cannot_be_written(refused, monkeypatch):
    Path("file").touch()
    refused(["cannot write", "file/run"], out="file/run")
