"""Target labels that are corrected when the run is done."""

import json
from pathlib import Path

import numpy as np
import pytest

from datk.bench.suite import read_suite
from datk.bench.sweep import run_suite
from datk.runs.again import CORRECTED
from datk.runs.result import read_result

CONFIG = """
[pair]
name = "arrays"
source_x = "x.npy"
source_y = "y.npy"
target_x = "z.npy"
target_y = "t.npy"

[data]
target_rows = "split"

[train]
epochs = 1
batch_size = 16
"""
SUITE = """
title = "Toys"
seeds = [0, 1]
config.backbone = "mlp"
config.train = { epochs = 1, batch_size = 16 }
config.data.target_rows = "split"

[config.pair]
name = "arrays"
source_x = "x.npy"
source_y = "y.npy"
target_x = "z.npy"
target_y = "t.npy"

[[table]]
name = "toys"
title = "Toys"

[[cell]]
name = "none"
title = "source only"
config = { align = "none" }
"""


@pytest.fixture(autouse=True)
def _data():
    rng = np.random.default_rng(0)
    for x, y in (("x", "y"), ("z", "t")):
        labels = np.arange(60) % 2
        np.save(f"{y}.npy", labels)
        np.save(f"{x}.npy", rng.normal(size=(60, 5)) + labels[:, None])
    Path("run.toml").write_text(CONFIG)
    Path("suite.toml").write_text(SUITE)


def correct(part, out="out"):
    """Exchange the classes of some rows of a part of the target."""
    with np.load(f"{out}/splits.npz") as splits:
        rows = splits[f"target_{part}"][:5]
    labels = np.load("t.npy")
    labels[rows] = 1 - labels[rows]
    np.save("t.npy", labels)


@pytest.fixture
def run(datk):
    """Runs in the folder `out`, or goes on with it."""
    flags = ["run", "--config", "run.toml", "--backbone", "mlp", "--align", "none", "--out", "out"]
    return lambda *more: datk(*flags, *more)


def test_a_completed_run_is_scored_again(run):
    assert run().code == 0
    before, weights = read_result("out"), Path("out/checkpoints/selected.safetensors").read_bytes()
    curve = Path("out/metrics.jsonl").read_bytes()
    said = run("--resume")
    assert (said.code, "complete already" in said.err, CORRECTED in said.err) == (0, True, False)
    assert read_result("out") == before
    correct("test")
    said = run("--resume")
    assert (said.code, CORRECTED in said.err, "complete already" in said.err) == (0, True, False)
    after = read_result("out")
    assert after.metrics["target"] != before.metrics["target"]
    assert after.answers_sha256 != before.answers_sha256
    assert CORRECTED in after.notes
    assert after.metrics["source"] == before.metrics["source"]
    same = ("epochs", "selected_epoch", "seconds", "weights_sha256", "data_sha256", "seed")
    assert [getattr(after, name) for name in same] == [getattr(before, name) for name in same]
    assert Path("out/checkpoints/selected.safetensors").read_bytes() == weights
    assert Path("out/metrics.jsonl").read_bytes() == curve
    assert "complete already" in run("--resume").err


def test_the_new_scores_are_those_of_a_run_with_the_new_labels(run, datk):
    run()
    correct("test")
    run("--resume")
    assert (
        datk("run", "--config", "run.toml", "--backbone", "mlp", "--align", "none", "--out", "fresh").code
        == 0
    )
    again, fresh = read_result("out"), read_result("fresh")
    assert again.metrics == fresh.metrics
    assert again.class_counts == fresh.class_counts
    assert again.answers_sha256 == fresh.answers_sha256


def test_other_labels_than_those_of_the_scores_are_nothing_to_the_run(run):
    run()
    correct("train")
    assert "complete already" in run("--resume").err


def test_a_result_without_a_checksum_counts_as_done(run):
    run()
    result = json.loads(Path("out/result.json").read_text())
    del result["answers_sha256"], result["class_counts"], result["target_labels"], result["classes"]
    Path("out/result.json").write_text(json.dumps(result))
    correct("test")
    assert "complete already" in run("--resume").err
    assert read_result("out").answers_sha256 is None


def test_a_completed_run_needs_no_data_to_be_complete(run):
    run()
    Path("t.npy").unlink()
    said = run("--resume")
    assert (said.code, "is complete already; whether the target's labels" in said.err) == (0, True)


def test_what_the_oracle_chose_by_is_not_exchanged(run):
    oracle = ["--set", "train.select=oracle"]
    assert run(*oracle).code == 0
    before = Path("out/result.json").read_bytes()
    assert "complete already" in run("--resume", *oracle).err
    correct("validation")
    said = run("--resume", *oracle)
    assert said.code == 2
    assert "the target labels by which train.select=oracle chooses have changed" in said.err
    assert Path("out/result.json").read_bytes() == before
    Path("out/result.json").unlink()  # nor is it in a run that is not complete
    assert run("--resume", *oracle).code == 2
    assert run("--force", *oracle).code == 0


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_suite_that_is_done_is_scored_again(jobs):
    def bench():
        return run_suite(read_suite("suite.toml")[1], (0, 1), Path("bench"), jobs=jobs)

    first = bench()
    assert [outcome.status for outcome in first] == ["ran", "ran"]
    assert [outcome.status for outcome in bench()] == ["was done", "was done"]
    labels = np.load("t.npy")
    np.save("t.npy", np.where(np.arange(60) % 3 == 0, 1 - labels, labels))
    again = bench()
    assert [outcome.status for outcome in again] == ["scored again", "scored again"], again
    assert [outcome.status for outcome in bench()] == ["was done", "was done"]
    for before, after in zip(first, again, strict=True):
        assert before.result.folder == after.result.folder
        assert before.result.weights_sha256 == after.result.weights_sha256
        assert before.result.metrics["target"] != after.result.metrics["target"]


def test_a_labelled_target_is_scored_where_it_was_not(run):
    labels = np.load("t.npy")
    unknown = Path("run.toml").read_text().replace('target_y = "t.npy"', "")
    Path("run.toml").write_text(unknown)
    assert run().code == 0
    assert read_result("out").metrics["target"] == {}
    Path("run.toml").write_text(CONFIG)
    np.save("t.npy", labels)
    assert run("--resume").code == 0
    assert read_result("out").metrics["target"]["test"]["n"] == 12


def test_labels_that_are_none_any_more_are_told(run):
    run()
    np.save("t.npy", np.full(60, 0.5))
    said = run("--resume")
    assert (said.code, "is complete already; whether the target's labels" in said.err) == (0, True)
    assert "t.npy" in said.err
