"""`--baseline`: source-only beside a run."""

import json
from pathlib import Path

import numpy as np
import pytest

import datk
from datk.base.errors import RunError
from datk.runs.baseline import gains
from datk.runs.result import read_result
from datk.runs.verdict import accuracy_gain
from tests import build
from tests.toys import TOYS


def run(out, align="mmd", **options):
    return datk.run(
        pair={"name": TOYS + "Toy", "shape": [5], **options.pop("pair", {})}, backbone="mlp", align=align,
        device="cpu", out=out, baseline=True,
        set={"train.batch_size": 16, **options.pop("set", {})}, **{"epochs": 1, **options},
    )  # fmt: skip


def test_source_only_is_trained_beside_a_run(tmp_path):
    result = run(tmp_path / "run", reg=["fisher"], set={"data.standardize": "per-domain"})
    baseline = result.baseline
    assert baseline.folder == tmp_path / "run/baseline"
    assert (baseline.align, baseline.reg, baseline.standardize) == ("none", [], "source")
    assert (result.align, result.reg, result.standardize) == ("mmd", ["fisher"], "per-domain")
    assert (baseline.seed, baseline.data_sha256) == (result.seed, result.data_sha256)
    splits = [(each.folder / "splits.npz").read_bytes() for each in (result, baseline)]
    assert splits[0] == splits[1]
    alone = build.run(tmp_path / "alone", pair={"shape": [5]}, epochs=1)
    assert baseline.weights_sha256 == alone.weights_sha256
    assert "baseline" not in json.loads((tmp_path / "run/result.json").read_text())


def test_a_baseline_that_is_there_is_left_alone(tmp_path):
    first = run(tmp_path / "run", "coral")
    before = build.files(tmp_path / "run/baseline")
    again = run(tmp_path / "run", "coral", resume=True)
    assert again.baseline.weights_sha256 == first.baseline.weights_sha256
    run(tmp_path / "run", "mmd", force=True)
    assert build.files(tmp_path / "run/baseline") == before


@pytest.mark.parametrize(
    "other", [{"set": {"train.lr": 0.01}}, {"pair": {"data_seed": 5}}], ids=["options", "data"]
)
def test_another_baseline_is_replaced_with_force(other, tmp_path):
    first = run(tmp_path / "run")
    forced = run(tmp_path / "run", force=True, **other)
    assert forced.baseline.weights_sha256 != first.baseline.weights_sha256
    assert forced.baseline.data_sha256 == forced.data_sha256


def test_an_interrupted_baseline_goes_on(tmp_path):
    first = run(tmp_path / "run")
    (tmp_path / "run/baseline/result.json").unlink()
    assert run(tmp_path / "run", resume=True).baseline.metrics == first.baseline.metrics


def test_several_seeds_are_paired(tmp_path):
    summary = run(tmp_path / "runs", seed=[0, 1])
    folders = [result.baseline.folder for result in summary.results]
    assert folders == [tmp_path / f"runs/baseline/seed-{seed}" for seed in (0, 1)]
    assert [result.baseline.seed for result in summary.results] == [0, 1]
    differences = [
        result.metrics["target"]["test"]["brier"] - result.baseline.metrics["target"]["test"]["brier"]
        for result in summary.results
    ]
    mean, spread = gains(summary.results, "brier")["target"]
    assert mean == pytest.approx(np.mean(differences))
    assert spread == pytest.approx(np.std(differences, ddof=1))
    alone = run(tmp_path / "runs", seed=1, resume=True)
    assert alone.baseline.folder == tmp_path / "runs/baseline/seed-1"


def test_the_baseline_of_a_vote_is_its_candidate(tmp_path):
    align = {"auto": {"candidates": ["source-only", "mmd"]}}
    result = run(tmp_path / "run", align)
    assert result.baseline.folder == tmp_path / "run/candidates/source-only"
    assert not (tmp_path / "run/baseline").exists()
    # Its candidates have the regularizers of the run, and so are no baseline.
    result = run(tmp_path / "with", align, reg=["fisher"])
    assert (result.baseline.folder, result.baseline.reg) == (tmp_path / "with/baseline", [])


def test_the_baseline_itself_has_none(tmp_path):
    result = run(tmp_path / "run", "none")
    assert result.baseline is None
    assert not (tmp_path / "run/baseline").exists()


def test_a_target_without_labels_has_no_difference(tmp_path):
    result = run(tmp_path / "run", pair={"labelled": False})
    assert [*gains([result], "accuracy")] == ["source"]


@pytest.mark.parametrize("what", ["files", "file", "link"])
def test_what_is_in_the_way_is_told_before_anything_is_trained(what, tmp_path):
    build.run(tmp_path / "run")
    before = build.files(tmp_path / "run")
    place = tmp_path / "run/baseline"
    if what == "files":
        place.mkdir()
        (place / "thesis.tex").write_text("mine")
    elif what == "file":
        place.write_text("mine")
    else:
        place.symlink_to(tmp_path)
    with pytest.raises(RunError, match="--baseline trains"):
        run(tmp_path / "run", force=True)
    assert before.items() <= build.files(tmp_path / "run").items()


def test_both_are_shown(datk, tiny_pair):
    outcome = datk("run", *tiny_pair, "--align", "coral", "--out", "run", "--baseline", "--seed", "0,1")
    assert outcome.code == 0, outcome.err
    rows = {line.split()[0]: line for line in outcome.out.splitlines() if line.strip()}
    assert {"source-only", "coral", "difference"} <= rows.keys()
    runs, beside = (
        [read_result(f"{folder}/seed-{seed}") for seed in (0, 1)] for folder in ("run", "run/baseline")
    )
    results, baselines = (
        [each.metrics["target"]["test"]["accuracy"] for each in found] for found in (runs, beside)
    )
    shown = " ".join(outcome.out.split())
    assert f"{np.mean(results) - np.mean(baselines):+.3f} ±" in rows["difference"]
    assert f"target accuracy gained: {accuracy_gain(runs, beside)}, an interval of 95 % over" in shown


def test_what_an_earlier_version_trained_has_no_interval(datk, tiny_pair):
    command = ["run", *tiny_pair, "--align", "coral", "--out", "run", "--baseline"]
    assert "target accuracy gained: " in datk(*command).out
    Path("run/outputs.npz").unlink()
    outcome = datk(*command, "--resume")
    assert outcome.code == 0, outcome.err
    assert "no interval of the difference: run/outputs.npz is not there" in " ".join(outcome.out.split())
