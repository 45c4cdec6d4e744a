"""From a configuration to a result, and several seeds."""

import json
import os
from statistics import fmean, stdev

import numpy as np
import pytest

import datk
from datk.base.errors import RunError
from datk.cli import main as cli
from datk.config.resolve import resolve
from datk.runs.seeds import execute_seeds, summarize
from datk.training.report import Reporter
from tests.toys import TOYS

FLAGS = [
    "run", "--pair", TOYS + "Toy", "--backbone", "mlp", "--align", TOYS + "Centroid", "--reg", "fisher",
    "--epochs", "2", "--device", "cpu", "--set", "train.batch_size=16",
]  # fmt: skip
CONFIG = {
    "pair": TOYS + "Toy",
    "backbone": "mlp",
    "align": TOYS + "Centroid",
    "reg": "fisher",
    "train": {"epochs": 2, "batch_size": 16},
    "device": "cpu",
}


def run(out, seed=0, **config):
    return datk.run(config={**CONFIG, **config}, seed=seed, out=out)


# --- one run -------------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_weights_again(tmp_path):
    first, again, other = run(tmp_path / "a"), run(tmp_path / "b"), run(tmp_path / "c", seed=1)
    assert first.weights_sha256 == again.weights_sha256
    assert first.metrics == again.metrics
    assert other.weights_sha256 != first.weights_sha256
    assert other.data_sha256 == first.data_sha256


def test_the_papers_split_is_stamped_on_the_result(tmp_path):
    grouped_toy = {"name": TOYS + "Toy", "groups": "own"}
    grouped = run(tmp_path / "grouped", pair=grouped_toy)
    paper = run(tmp_path / "paper", pair=grouped_toy, split="paper")
    assert (grouped.split, paper.split) == ("grouped+stratified+all-target-rows", "paper")
    assert not any("split=paper" in note for note in grouped.notes)
    assert any("training saw too, because of split=paper" in note for note in paper.notes)
    assert "split=paper" in (tmp_path / "paper" / "log.txt").read_text()


def test_the_split_has_a_seed_of_its_own(tmp_path):
    folders = [tmp_path / name for name in "abc"]
    run(folders[0], seed=0, data={"split_seed": 5})
    run(folders[1], seed=1, data={"split_seed": 5})
    run(folders[2], seed=0)
    splits = [(folder / "splits.npz").read_bytes() for folder in folders]
    assert splits[0] == splits[1] != splits[2]


def test_seeds_share_their_rows_unless_each_is_to_have_its_own(tmp_path):
    for seed in (0, 1):
        run(tmp_path / f"shared-{seed}", seed=seed)
        run(tmp_path / f"own-{seed}", seed=seed, data={"split_seed": "run"})
    shared, own = (
        [(tmp_path / f"{kind}-{seed}" / "splits.npz").read_bytes() for seed in (0, 1)]
        for kind in ("shared", "own")
    )
    assert shared[0] == shared[1] == own[0] != own[1]


def test_all_target_rows_are_trained_on_and_scored(tmp_path):
    result = run(tmp_path / "all", data={"target_rows": "all"}, train={"select": "oracle"})
    assert (result.split, result.uses_target_labels) == ("stratified+all-target-rows", True)
    assert (
        "all 50 target rows were trained on, without labels, and scored (data.target_rows=all)"
        in result.notes
    )
    with np.load(tmp_path / "all" / "splits.npz", allow_pickle=False) as parts:
        for part in ("train", "validation", "test"):
            np.testing.assert_array_equal(parts[f"target_{part}"], np.arange(50))
    assert run(tmp_path / "split", data={"target_rows": "split"}).split == "stratified"


@pytest.mark.parametrize(
    ("options", "everything"),
    [({}, True), ({"pair": {"name": TOYS + "Toy", "groups": "shared"}}, False), ({"split": "paper"}, False)],
)
def test_all_of_them_are_the_default_where_that_flatters_nothing(tmp_path, options, everything):
    result = run(tmp_path / "run", **options)
    assert result.split.endswith("+all-target-rows") is everything
    assert (result.metrics["target"]["test"]["n"] == 50) is everything


def test_the_number_of_threads_is_recorded(tmp_path):
    import torch

    result = run(tmp_path / "run")
    (start,) = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert result.threads == start["threads"] == torch.get_num_threads()
    assert start["OMP_NUM_THREADS"] == os.environ.get("OMP_NUM_THREADS")


def test_random_numbers_drawn_elsewhere_do_not_matter(tmp_path):
    import torch

    torch.manual_seed(1)
    first = run(tmp_path / "a")
    torch.rand(7)
    assert run(tmp_path / "b").weights_sha256 == first.weights_sha256


# --- several seeds -------------------------------------------------------------------------------------


def test_several_seeds_from_the_command_line(tmp_path, capsys):
    cli.main([*FLAGS, "--seed", "0,1,2", "--out", str(tmp_path / "runs")])
    shown = capsys.readouterr().out
    results = [datk.read_result(tmp_path / "runs" / f"seed-{seed}") for seed in (0, 1, 2)]
    assert [result.seed for result in results] == [0, 1, 2]
    assert len({result.weights_sha256 for result in results}) == 3
    assert results[0].weights_sha256 == run(tmp_path / "alone").weights_sha256

    summary = json.loads((tmp_path / "runs" / "summary.json").read_text())
    assert summary["seeds"] == [0, 1, 2]
    values = [result.metrics["target"]["test"]["accuracy"] for result in results]
    accuracy = summary["metrics"]["target"]["test"]["accuracy"]
    assert accuracy == {"mean": pytest.approx(fmean(values)), "std": pytest.approx(stdev(values))}
    assert "mean ± standard deviation over seeds 0, 1, 2" in shown
    assert f"{fmean(values):.3f} ± {stdev(values):.3f}" in shown


def test_resuming_several_seeds_skips_those_that_are_complete(tmp_path):
    out = tmp_path / "runs"
    chosen = resolve(config=CONFIG)
    whole = execute_seeds(chosen, [0, 1, 2], out)
    (out / "seed-1" / "result.json").unlink()
    (out / "summary.json").unlink()
    complete = {seed: (out / f"seed-{seed}" / "result.json").stat().st_mtime_ns for seed in (0, 2)}

    class Told(Reporter):
        def __init__(self):
            self.notes, self.runs = [], []

        def note(self, text):
            self.notes.append(text)

        def started(self, title, epochs, steps):
            self.runs.append(title)

    told = Told()
    again = execute_seeds(chosen, [0, 1, 2], out, resume=True, reporters=[told])
    assert again == whole
    assert [one.weights_sha256 for one in again.results] == [one.weights_sha256 for one in whole.results]
    assert len(told.runs) == 1
    assert told.runs[0].endswith("seed 1")
    assert [note for note in told.notes if "complete" in note] == [
        f"{out / 'seed-0'} is complete already",
        f"{out / 'seed-2'} is complete already",
    ]
    assert complete == {seed: (out / f"seed-{seed}" / "result.json").stat().st_mtime_ns for seed in (0, 2)}
    assert (out / "summary.json").is_file()


def test_a_folder_in_the_way_is_found_before_the_first_seed(tmp_path):
    run(tmp_path / "runs" / "seed-2", seed=2)
    with pytest.raises(RunError, match=r"seed-2 holds a run already"):
        execute_seeds(resolve(config=CONFIG), [0, 1, 2], tmp_path / "runs")
    assert not (tmp_path / "runs" / "seed-0").exists()


def test_a_metric_that_is_missing_once_has_no_mean(tmp_path):
    results = [run(tmp_path / str(seed), seed=seed) for seed in (0, 1)]
    results[1].metrics["source"]["test"]["auc"] = None
    summary = summarize(results)
    assert summary["source"]["test"]["auc"] == {"mean": None, "std": None}
    assert summary["source"]["test"]["accuracy"]["mean"] is not None
    assert summarize(results[:1])["target"]["test"]["f1"]["std"] is None


def test_a_seed_that_comes_later_is_counted_with_those_that_are_there(tmp_path):
    out = tmp_path / "runs"
    chosen = resolve(config=CONFIG)
    execute_seeds(chosen, [0, 1], out)
    cli.main([*FLAGS, "--seed", "4", "--out", str(out)])
    summary = execute_seeds(chosen, [2, 3], out)
    assert summary.seeds == [0, 1, 2, 3, 4]
    assert [result.folder for result in summary.results] == [out / f"seed-{seed}" for seed in range(5)]
    assert summary.metrics == summarize([datk.read_result(out / f"seed-{seed}") for seed in range(5)])
    assert json.loads((out / "summary.json").read_text()) == summary.model_dump(mode="json")


def test_runs_in_one_folder_differ_in_their_seed_only(tmp_path):
    out = tmp_path / "runs"
    execute_seeds(resolve(config=CONFIG), [0], out)
    other = resolve(config={**CONFIG, "train": {"epochs": 1, "batch_size": 16}})
    for force in (False, True):
        with pytest.raises(
            RunError, match=r"seed-0 is a run with other options: train.epochs was 2 and is now 1"
        ):
            execute_seeds(other, [1, 2], out, force=force)
    assert sorted(path.name for path in out.iterdir()) == ["seed-0", "summary.json"]
    assert execute_seeds(other, [0], out, force=True).results[0].epochs == 1


def test_runs_on_other_data_are_left_out_of_the_summary(tmp_path):
    out = tmp_path / "runs"
    told = Notes()
    execute_seeds(resolve(config=CONFIG), [0, 1], out)
    other = resolve(config={**CONFIG, "pair": {"name": TOYS + "Toy", "shift": 3.0}})
    summary = execute_seeds(other, [2], out, reporters=[told])
    assert summary.seeds == [2]
    left_out = [f"{out / f'seed-{seed}'} is not in summary.json: its data are others" for seed in (0, 1)]
    assert [note for note in told.notes if "summary" in note] == left_out


def test_a_folder_of_one_run_is_none_for_several_and_the_other_way_round(tmp_path):
    run(tmp_path / "one")
    before = sorted((tmp_path / "one").rglob("*"))
    for options in ({}, {"force": True}, {"resume": True}):
        with pytest.raises(
            RunError, match=r"one holds a single run; runs of several seeds need another --out"
        ):
            execute_seeds(resolve(config=CONFIG), [0, 1], tmp_path / "one", **options)
    assert sorted((tmp_path / "one").rglob("*")) == before
    execute_seeds(resolve(config=CONFIG), [0], tmp_path / "several")
    with pytest.raises(RunError, match=r"several holds runs of several seeds; say which with --seed"):
        datk.run(config=CONFIG, out=tmp_path / "several", force=True)


def test_a_folder_of_something_else_is_none_for_several(tmp_path):
    (tmp_path / "summary.txt").write_text("mine")
    with pytest.raises(RunError, match=r"is not empty and holds no runs; choose another --out"):
        execute_seeds(resolve(config=CONFIG), [0, 1], tmp_path, force=True)


class Notes(Reporter):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)
