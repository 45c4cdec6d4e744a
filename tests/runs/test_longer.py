"""Going on with a run for more epochs: it is the longer run, to the bit, or an error says why it is not."""

import json
from pathlib import Path

import pytest
import torch

import datk
from datk.base.errors import RunError
from datk.runs.result import read_result
from tests import build
from tests.toys import TOYS

PROGRESS = """
import torch
from datk.interfaces import Regularizer

class Follows(Regularizer):
    def forward(self, source, target, step):
        return USE * source.features.mean()
"""


def weights(folder):
    return torch.load(Path(folder) / "checkpoints" / "last.pt", weights_only=True)["model"]


@pytest.mark.parametrize("schedule", ["constant", "triangle"])
@pytest.mark.parametrize("finished", [True, False])
def test_a_run_that_is_trained_longer_is_the_longer_run(tmp_path, schedule, finished):
    options = {"align": TOYS + "Centroid", "reg": ["fisher"], "schedule": schedule, "cycle_length": 2}
    whole = build.run(tmp_path / "whole", epochs=5, **options)
    if finished:
        assert build.run(tmp_path / "run", epochs=2, **options).epochs == 2
    else:
        with pytest.raises(KeyboardInterrupt):
            build.interrupted(tmp_path / "run", 1, epochs=2, **options)
    longer = build.run(tmp_path / "run", epochs=5, resume=True, **options)
    assert longer.weights_sha256 == whole.weights_sha256
    assert (longer.epochs, longer.selected_epoch, longer.metrics) == (5, whole.selected_epoch, whole.metrics)
    first, second = weights(tmp_path / "whole"), weights(tmp_path / "run")
    assert all(torch.equal(first[name], second[name]) for name in first)
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("whole", "run")]
    assert configs[0]["train"] | {"save_every": 0} == configs[1]["train"] | {"save_every": 0}


def test_only_the_number_of_epochs_need_be_said(tmp_path, datk):
    whole = build.run(tmp_path / "whole", epochs=3, schedule="constant")
    build.run(tmp_path / "run", epochs=2, schedule="constant")
    assert datk("run", "--resume", "--epochs", "3", "--out", tmp_path / "run").code == 0
    assert read_result(tmp_path / "run").weights_sha256 == whole.weights_sha256


@pytest.mark.parametrize(
    ("options", "telling"),
    [
        ({"schedule": "one-cycle"}, "train.schedule=one-cycle is stretched over all epochs"),
        ({"schedule": "cosine"}, "train.schedule=cosine is stretched over all epochs"),
        (
            {"schedule": "constant", "align": "none", "label_shift": "estimate"},
            "the warm-up before train.label_shift=estimate is stretched over all epochs",
        ),
        (
            {"align": {"mmd": {"ramp": "linear"}}},
            "the weight of mmd (ramp=linear) is stretched over all epochs",
        ),
        (
            {"align": {"dann": {"reversal": "ganin", "ramp": "constant"}}},
            "a term of the loss follows the progress over all epochs",
        ),
        (
            {"align": {"cdan": {"reversal": "ganin"}}},
            "a term of the loss follows the progress over all epochs",
        ),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_a_run_that_would_have_been_another_one_is_not_trained_longer(tmp_path, options, telling, finished):
    options = {"schedule": "constant", **options}
    if finished:
        build.run(tmp_path / "run", **options)
    else:
        with pytest.raises(KeyboardInterrupt):
            build.interrupted(tmp_path / "run", 1, **options)
    before = build.files(tmp_path / "run")
    with pytest.raises(RunError) as error:
        build.run(tmp_path / "run", epochs=5, resume=True, save_every=10 if finished else 0, **options)
    assert telling in str(error.value)
    assert "train 5 from the start with another --out, or start from these weights by --init" in str(
        error.value
    )
    assert build.files(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("use", "depends"),
    [
        ("step.progress", True),
        ("torch.where(step.progress > 0.5, 1.0, 2.0)", True),
        ("(source.features.detach() * 0 + step.progress).mean()", True),
        ("torch.stack([step.progress, step.epoch])[1]", True),
        ("step.epoch", False),
        ("torch.ones_like(step.progress)", False),
        ("torch.zeros(step.progress.shape, device=step.progress.device, dtype=step.progress.dtype)", False),
    ],
)
@pytest.mark.parametrize("recorded", [True, False])
def test_who_follows_the_progress_is_found_by_what_it_does(tmp_path, use, depends, recorded):
    """From the checkpoint, and where an earlier version wrote that, from the first step."""
    (tmp_path / "term.py").write_text(PROGRESS.replace("USE", use))
    options = {"reg": [f"{tmp_path / 'term.py'}:Follows"], "schedule": "constant"}
    build.run(tmp_path / "run", **options)
    if not recorded:
        path = tmp_path / "run" / "checkpoints" / "last.pt"
        state = torch.load(path, weights_only=True)
        assert state.pop("progress_read") is depends
        torch.save(state, path)
    before = build.files(tmp_path / "run")
    if depends:
        with pytest.raises(RunError, match="follows the progress"):
            build.run(tmp_path / "run", epochs=3, resume=True, **options)
        assert build.files(tmp_path / "run") == before
    else:
        whole = build.run(tmp_path / "whole", epochs=3, **options)
        longer = build.run(tmp_path / "run", epochs=3, resume=True, **options)
        assert longer.weights_sha256 == whole.weights_sha256


def test_a_run_that_stopped_early_stops_there_again(tmp_path):
    options = {"schedule": "constant", "patience": 1, "lr": 0.3, "select": "source-validation-loss"}
    whole = build.run(tmp_path / "whole", epochs=30, **options)
    assert whole.epochs < 20
    build.run(tmp_path / "run", epochs=20, **options)
    longer = build.run(tmp_path / "run", epochs=30, resume=True, **options)
    assert (longer.weights_sha256, longer.epochs) == (whole.weights_sha256, whole.epochs)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["train"]["epochs"] == 30


def test_fewer_epochs_are_another_run(tmp_path):
    build.run(tmp_path / "run", epochs=3, schedule="constant")
    with pytest.raises(RunError, match=r"train.epochs was 3 and is now 2"):
        build.run(tmp_path / "run", epochs=2, schedule="constant", resume=True)


def test_a_longer_run_that_is_interrupted_goes_on(tmp_path):
    whole = build.run(tmp_path / "whole", epochs=4, schedule="constant")
    build.run(tmp_path / "run", epochs=2, schedule="constant", save_every=0)
    with pytest.raises(KeyboardInterrupt):
        build.interrupted(tmp_path / "run", 3, epochs=4, schedule="constant", resume=True)
    assert not (tmp_path / "run" / "result.json").exists()
    result = datk.run(out=tmp_path / "run", resume=True)
    assert result.weights_sha256 == whole.weights_sha256
