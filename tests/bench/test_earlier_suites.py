"""A suite that an earlier datk ran is not repeated; see tests/fixtures/earlier/README.md."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch

import datk as api
from datk.base.errors import RunError
from datk.bench import sweep, tables
from datk.bench.suite import read_suite
from datk.runs.result import read_result
from tests.earlier import CELLS, bench, copy_to, edit, read, selected, statuses


@pytest.fixture(autouse=True)
def _copied(tmp_path):
    copy_to(tmp_path)


@pytest.mark.parametrize("moved", [False, True])
def test_a_suite_is_not_repeated(moved):
    out = Path("runs/bench")
    if moved:  # where the runs that others start from are not where their configurations say
        out = out.rename("elsewhere")
    before = sorted(out.rglob("*"))
    outcomes = bench(out)
    assert [(o.entry.key, o.status) for o in outcomes] == [(cell, "was done") for cell in CELLS]
    assert [o.result for o in outcomes] == [read_result(o.result.folder) for o in outcomes]
    assert sorted(out.rglob("*")) == before


def test_a_suite_that_an_earlier_version_began_goes_on_with_its_splits():
    told = []
    outcomes = sweep.run_suite(read_suite("suite.toml")[1], (0, 1, 2), Path("runs/bench"), note=told.append)
    assert statuses(outcomes) == ["was done", "was done", "ran"] * 2
    assert {outcome.result.split for outcome in outcomes} == {"random"}
    assert read(outcomes[2].result.folder / "config.json")["data"]["split_seed"] == "run"
    assert [text.partition(":")[0] for text in told] == ["runs/bench was begun by an earlier version"]
    fresh = bench("fresh")
    assert {outcome.result.split for outcome in fresh} == {"stratified+all-target-rows"}
    parts = [(outcome.result.folder / "splits.npz").read_bytes() for outcome in fresh]
    assert len(set(parts)) == 1


@pytest.mark.parametrize("said", ["data.split_seed=0", "split=stratified", "data.target_rows=all"])
def test_a_suite_that_says_how_it_is_split_is_run_so(said):
    outcomes = bench(overrides=[said, "data.split_seed=0"])
    assert statuses(outcomes) == ["ran"] * 4
    assert statuses(bench(overrides=["data.split_seed=run", "split=grouped"])) == ["was done"] * 4


def test_the_tables_of_a_suite_stay_as_they_are(datk):
    def without_caption(text):
        return [line for line in text.splitlines() if line.startswith("|")]

    earlier = Path("runs/bench/tables.md").read_text()
    numbers = Path("runs/bench/tables.csv").read_text()
    edit(next(Path("runs/bench").rglob("result.json")), lambda result: result.update(energy=1.5))
    assert datk("bench", "suite.toml", "--out", "runs/bench").code == 0
    assert without_caption(Path("runs/bench/suite.md").read_text()) == without_caption(earlier)
    assert Path("runs/bench/suite.csv").read_text() == numbers
    results = [run["result"] for run in read("runs/bench/suite.json")["runs"]]
    assert [result.get("energy") for result in results].count(1.5) == 1


def test_what_changed_in_a_suite_is_run():
    edit(next(Path("runs/bench/toys/none").glob("seed-1-*/config.json")), lambda c: c.update(seed=2))
    assert statuses(bench())[:3] == ["was done", "ran", "was done"]
    assert statuses(bench(overrides=["train.lr=0.03"])) == ["ran"] * 4


def test_runs_on_other_data_or_from_other_weights_are_others():
    with np.load("data.npz", allow_pickle=False) as file:
        arrays = dict(file)
    np.savez("data.npz", **arrays | {"target_x": arrays["target_x"] + np.float32(1e-3)})
    assert statuses(bench()) == ["ran"] * 4
    np.savez("data.npz", **arrays)
    for folder in Path("runs/bench/toys/none").iterdir():
        weights = selected(folder)
        weights = {name: tensor + 1e-3 for name, tensor in weights.items()}
        safetensors.torch.save_file(weights, folder / "checkpoints" / "selected.safetensors")
    assert statuses(bench()) == ["was done", "was done", "ran", "ran"]


@pytest.mark.parametrize(("jobs", "out"), [(1, "runs/bench"), (2, "absolute")])
def test_an_interrupted_suite_goes_on_where_it_was(jobs, out, tmp_path):
    (folder,) = Path("runs/bench/toys/mmd").glob("seed-1-*")
    earlier = read_result(folder)
    (folder / "result.json").unlink()
    out = tmp_path / "runs" / "bench" if out == "absolute" else Path(out)
    outcomes = bench(out, jobs=jobs)
    assert statuses(outcomes) == ["was done", "was done", "was done", "ran"]
    assert outcomes[3].result.folder.resolve() == folder.resolve()
    assert outcomes[3].result.weights_sha256 == earlier.weights_sha256


def test_an_interrupted_suite_goes_on_where_it_was_moved_to():
    folder = bench("out")[3].result.folder
    (folder / "result.json").unlink()
    Path("out").rename("moved")
    outcomes = bench("moved")
    assert statuses(outcomes) == ["was done", "was done", "was done", "ran"]
    moved = outcomes[3].result.folder
    assert moved == "moved" / folder.relative_to("out")
    assert len({start["init_sha256"] for start in read(moved / "environment.json")}) == 1
    (moved / "result.json").unlink()
    with pytest.raises(RunError, match=r"cannot resume .*: init was"):
        api.run(config=moved / "config.json", init=outcomes[0].result.folder, out=moved, resume=True)


def test_a_run_that_an_earlier_version_named_in_another_way_is_known_by_its_content():
    """Such as one of a version in which an option that there is now was none."""
    done = bench("out")
    for outcome in done:
        folder = outcome.result.folder
        folder.rename(folder.with_name(f"seed-{outcome.seed}-0123456789ab"))
    assert statuses(bench("out")) == ["was done"] * 4
    (folder,) = Path("out/toys/mmd").glob("seed-0-*")
    edit(folder / "environment.json", lambda starts: starts[0].update(init_sha256="other"))
    assert statuses(bench("out")) == ["was done", "was done", "ran", "was done"]


def test_a_default_that_changed_makes_another_run():
    """Names of folders tell what differs from the defaults, whatever these are."""
    first = bench("out")
    written = first[0].result.folder / "config.json"
    edit(written, lambda config: config["train"].update(patience=7))  # what the default was then, say
    second = bench("out")
    assert statuses(second) == ["ran", "was done", "was done", "was done"]
    assert second[0].result.folder not in [outcome.result.folder for outcome in first]
    assert statuses(bench("out")) == ["was done"] * 4
    assert bench("out")[0].result == second[0].result


def test_a_run_of_a_later_version_is_known_by_its_name():
    done = bench("out")
    for outcome in done:
        edit(outcome.result.folder / "config.json", lambda config: config["train"].update(future=False))
    assert statuses(bench("out")) == ["was done"] * 4
    (done[0].result.folder / "result.json").unlink()
    outcomes = bench("out")
    assert "unknown option 'train.future'" in outcomes[0].error
    assert "another version of datk" in outcomes[0].error
    assert tables.fill(read_suite("suite.toml")[0], outcomes)[0].absent
