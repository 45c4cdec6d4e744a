"""Run folders: what is in them, and what happens when writing fails."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import datk
from datk.base.errors import RunError
from datk.base.files import read_json
from datk.runs.folder import RunFolder, differing_keys
from datk.runs.result import read_result
from datk.training.checkpoints import weights_checksum
from tests.toys import TOYS


def run(folder, **arguments):
    options = {
        "pair": TOYS + "Toy",
        "backbone": "mlp",
        "align": "mmd",
        "reg": ["fisher"],
        "epochs": 2,
        "device": "cpu",
    }
    return datk.run(
        **{
            **options,
            "out": folder,
            "set": {"train.batch_size": 16, "data.target_rows": "split"},
            **arguments,
        }
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("done") / "run"
    run(folder)
    return folder


# --- what a run leaves ---------------------------------------------------------------------------------


def test_the_folder_of_a_run(done):
    files = {str(path.relative_to(done)) for path in done.rglob("*") if path.is_file()}
    assert files == {
        "config.json",
        "environment.json",
        "splits.npz",
        "outputs.npz",
        "metrics.jsonl",
        "log.txt",
        "result.json",
        "checkpoints/last.pt",
        "checkpoints/selected.safetensors",
    }


def test_the_keys_of_a_result(done):
    result = json.loads((done / "result.json").read_text())
    assert set(result) == {
        "datk", "pair", "backbone", "align", "reg", "task", "seed", "split", "selected_by",
        "uses_target_labels", "epochs", "selected_epoch", "seconds", "seconds_per_epoch", "device",
        "weights_sha256", "data_sha256", "metrics", "notes", "hooks", "classes", "positive", "class_counts",
        "target_labels", "answers_sha256", "selection_sha256", "threads", "targets",
        "standardize", "predicted_shares", "information", "pulls", "late_fall", "alarms", "vote",
    }  # fmt: skip
    assert (result["pair"], result["backbone"], result["align"], result["reg"]) == (
        "Toy",
        "mlp",
        "mmd",
        ["fisher"],
    )
    assert result["selected_by"] == "last"
    assert result["uses_target_labels"] is False
    assert (result["datk"], result["seed"], result["split"], result["device"]) == (
        datk.__version__,
        0,
        "stratified",
        "cpu",
    )
    assert result["notes"] == ["toy data"]
    assert set(result["metrics"]) == {"source", "target"}
    assert set(result["metrics"]["source"]) == {"validation", "test"}
    for part in (*result["metrics"]["source"].values(), *result["metrics"]["target"].values()):
        assert set(part) == {"accuracy", "auc", "precision", "recall", "f1", "brier", "ece", "n"}
    assert result["seconds_per_epoch"] == pytest.approx(result["seconds"] / 2, abs=1e-3)


def test_the_checksum_is_that_of_the_saved_weights(done):
    saved = safetensors.torch.load_file(done / "checkpoints" / "selected.safetensors")
    assert weights_checksum(saved) == json.loads((done / "result.json").read_text())["weights_sha256"]
    assert {name.split(".")[0] for name in saved} == {"objective", "standardizers"}


def test_the_configuration_makes_the_same_run_again(done, tmp_path):
    again = datk.run(config=done / "config.json", out=tmp_path / "again", device="cpu")
    assert again.weights_sha256 == read_result(done).weights_sha256
    assert (tmp_path / "again" / "config.json").read_text() == (done / "config.json").read_text()


def test_the_record_of_data_and_versions(done):
    with np.load(done / "splits.npz", allow_pickle=False) as splits:
        assert sorted(splits) == [
            f"{d}_{p}" for d in ("source", "target") for p in ("test", "train", "validation")
        ]
        for domain, rows in (("source", 40), ("target", 50)):
            parts = [splits[f"{domain}_{part}"] for part in ("train", "validation", "test")]
            assert sorted(np.concatenate(parts)) == list(range(rows))
    (environment,) = read_json(done / "environment.json")
    assert torch.__version__.startswith(environment["packages"]["torch"])
    assert environment["data_sha256"] == read_result(done).data_sha256
    assert {"datk", "python", "platform", "device", "cuda", "threads", "command"} < set(environment)


def test_a_result_is_read_back_whole(done):
    result = read_result(done)
    assert result.folder == done
    assert result.align_and_reg == "mmd + fisher"
    assert result.model_dump(mode="json") == json.loads((done / "result.json").read_text())


# --- writing -------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot write .*file/run"):
        run(tmp_path / "file" / "run")


# --- folders that are in use ---------------------------------------------------------------------------


def test_a_run_in_the_way(done):
    with pytest.raises(RunError, match=r"holds a run already; --resume goes on with it, --force replaces it"):
        run(done)


def test_a_folder_of_something_else_is_never_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("important")
    for arguments in ({}, {"force": True}, {"resume": True}):
        with pytest.raises(RunError, match=r"is not empty and holds no run; choose another --out"):
            run(tmp_path, **arguments)
    with pytest.raises(RunError, match=r"is a file; --out names a folder"):
        run(tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_force_replaces_a_run_and_nothing_else(tmp_path):
    run(tmp_path / "run", epochs=3)
    (tmp_path / "run" / "notes.md").write_text("mine")
    (tmp_path / "run" / "checkpoints" / "best.bak").write_text("mine too")
    again = run(tmp_path / "run", epochs=1, force=True)
    fresh = run(tmp_path / "fresh", epochs=1)
    assert again.weights_sha256 == fresh.weights_sha256
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2
    assert (tmp_path / "run" / "notes.md").read_text() == "mine"
    assert (tmp_path / "run" / "checkpoints" / "best.bak").read_text() == "mine too"


def test_force_removes_nothing_before_the_data_are_good(tmp_path):
    run(tmp_path / "run")
    with pytest.raises(datk.DatkError):
        run(tmp_path / "run", force=True, pair={"name": TOYS + "Toy", "source_rows": 2})
    assert read_result(tmp_path / "run").epochs == 2


def test_a_run_is_resumed_with_its_own_options_only(tmp_path):
    run(tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    with pytest.raises(RunError, match=r"cannot resume .*: train.epochs was 2 and is now 1; repeat"):
        run(tmp_path / "run", resume=True, epochs=1)
    with pytest.raises(RunError, match=r"align.datk:mmd was a table and is now not there and 2 more"):
        run(tmp_path / "run", resume=True, epochs=3, align="coral")


def test_a_run_is_resumed_with_its_own_data_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 2
    np.savez("pair.npz", x=x, y=y)
    keys = {"source_x": "x", "source_y": "y", "target_x": "x"}
    pair = {"name": "arrays", "source": "pair.npz", "target": "pair.npz", **keys}
    run("run", pair=pair)
    Path("run/result.json").unlink()
    np.savez("pair.npz", x=x + 1e-6, y=y)
    with pytest.raises(RunError, match=r"cannot resume run: the data have changed since it was started"):
        run("run", pair=pair, resume=True)


def test_differing_keys():
    old = {"seed": 0, "train": {"epochs": 3, "lr": 0.1}, "align": {"mmd": {"weight": 1}}}
    new = {"seed": 0, "train": {"epochs": 4, "lr": 0.1}, "align": {"coral": {"weight": 1}}}
    assert differing_keys(old, old) == []
    assert differing_keys(old, new) == [
        ("train.epochs", 3, 4),
        ("align.mmd", {"weight": 1}, None),
        ("align.coral", None, {"weight": 1}),
    ]


# --- damage --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 cut short"])
def test_a_damaged_checkpoint_is_named(content, tmp_path):
    run(tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    (tmp_path / "run" / "checkpoints" / "last.pt").write_bytes(content)
    with pytest.raises(
        RunError, match=r"last\.pt is damaged or no checkpoint of datk; --force starts the run again"
    ):
        run(tmp_path / "run", resume=True)


def test_a_checkpoint_of_other_components_is_named(tmp_path):
    run(tmp_path / "run")
    run(tmp_path / "other", reg=["entropy"])
    (tmp_path / "run" / "result.json").unlink()
    (tmp_path / "other" / "checkpoints" / "last.pt").replace(tmp_path / "run" / "checkpoints" / "last.pt")
    with pytest.raises(RunError, match=r"last\.pt is not a checkpoint of these components"):
        run(tmp_path / "run", resume=True)


def test_two_processes_cannot_write_into_one_folder(tiny_pair, datk):
    with RunFolder(Path("run")).locked():
        outcome = datk("run", *tiny_pair, "--out", "run")
        assert outcome.code == 2
        assert (
            "another process writes into run; wait until it is done, or choose another --out" in outcome.err
        )
        assert list(Path("run").iterdir()) == []
    assert datk("run", *tiny_pair, "--out", "run").code == 0


def test_results_that_are_none(tmp_path):
    with pytest.raises(RunError, match=r"holds no completed run"):
        read_result(tmp_path)
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(RunError, match=r"result\.json cannot be read"):
        read_result(tmp_path)
    (tmp_path / "result.json").write_text('{"accuracy": 1}')
    with pytest.raises(RunError, match=r"result\.json is not the result of a run of datk"):
        read_result(tmp_path)
