"""`datk.run` in Python: progress, several seeds, resuming without saying everything again."""

import builtins
import json
import typing
from pathlib import Path

import numpy as np
import pytest

import datk
from datk.base.errors import ConfigError
from datk.cli.main import main
from tests.toys import TOYS

TOY = {
    "pair": TOYS + "Toy",
    "backbone": "mlp",
    "align": "none",
    "device": "cpu",
    "epochs": 1,
    "set": {"train.batch_size": 16},
}
FLAGS = ["--pair", TOYS + "Toy", "--backbone", "mlp", "--align", "none", "--device", "cpu", "--epochs", "1"]


# --- progress ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("progress", "where", "shown"),
    [
        (None, "a file", False),
        (None, "a notebook", True),
        (None, "a terminal", True),
        (True, "a file", True),
        (False, "a terminal", False),
        (False, "a notebook", False),
        (None, "nowhere", False),
    ],
)
def test_progress_is_shown_where_somebody_looks(progress, where, shown, capsys, monkeypatch):
    if where == "a notebook":
        monkeypatch.setattr(builtins, "__IPYTHON__", True, raising=False)
    if where == "a terminal":
        monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    if where == "nowhere":
        monkeypatch.setattr("sys.stderr", None)
    datk.run(**TOY, progress=progress)
    monkeypatch.undo()
    said = capsys.readouterr()
    assert said.out == ""
    assert ("epoch" in said.err) == shown


# --- several seeds -------------------------------------------------------------------------------------


def test_several_seeds_give_what_the_command_line_writes(tmp_path):
    summary = datk.run(**TOY, seed=[0, 2], out=tmp_path / "api")
    assert isinstance(summary, datk.Summary)
    main(["run", *FLAGS, "--set", "train.batch_size=16", "--seed", "0,2", "--out", str(tmp_path / "cli")])
    assert (tmp_path / "api/summary.json").read_text() == (tmp_path / "cli/summary.json").read_text()
    assert json.loads((tmp_path / "api/summary.json").read_text()) == summary.model_dump(mode="json")
    assert [result.seed for result in summary.results] == summary.seeds == [0, 2]
    assert [result.folder for result in summary.results] == [tmp_path / "api/seed-0", tmp_path / "api/seed-2"]
    assert summary.folder == tmp_path / "api"
    alone = datk.run(**TOY, seed=2, out=tmp_path / "alone")
    assert alone.weights_sha256 == summary.results[1].weights_sha256


@pytest.mark.parametrize("seeds", [range(2), (0, 1), np.arange(2), {0: "a", 1: "b"}.keys()])
def test_seeds_of_any_kind(seeds):
    summary = datk.run(**TOY, seed=seeds)
    assert summary.seeds == [0, 1]
    assert summary.folder.parent == Path("runs")
    assert summary.folder.name.endswith("2-seeds")


def test_a_list_of_one_seed_is_a_summary_and_a_number_a_result():
    assert isinstance(datk.run(**TOY, seed=[1], out="list"), datk.Summary)
    assert isinstance(datk.run(**TOY, seed=np.int64(1), out="number"), datk.RunResult)
    again = datk.run(**TOY, seed=2, out="list")
    assert (again.seed, again.folder) == (2, Path("list/seed-2"))
    assert json.loads(Path("list/summary.json").read_text())["seeds"] == [1, 2]


@pytest.mark.parametrize("seed", [[], [1, 1], [0, -1], ["x"], "0,1", 1.5, [None]])
def test_seeds_that_are_none(seed):
    with pytest.raises(ConfigError, match="seed"):
        datk.run(**TOY, seed=seed)
    assert not Path("runs").exists()


def test_what_is_returned_has_a_type():
    overloads = typing.get_overloads(datk.run)
    returned = {
        typing.get_type_hints(each)["seed"]: typing.get_type_hints(each)["return"] for each in overloads
    }
    assert returned == {int | None: datk.RunResult, typing.get_type_hints(overloads[1])["seed"]: datk.Summary}


# --- resuming ------------------------------------------------------------------------------------------


def test_a_run_that_is_resumed_has_its_own_options_again():
    first = datk.run(**TOY, seed=3, out="run")
    Path("run/result.json").unlink()
    assert datk.run(out="run", resume=True).weights_sha256 == first.weights_sha256
    with pytest.raises(datk.DatkError, match=r"backbone.name was"):
        datk.run(out="run", resume=True, backbone="deepmerge")
    begun = datk.run(**TOY, seed=3, out="new", resume=True)  # the same call starts a run and goes on with it
    assert begun.weights_sha256 == first.weights_sha256


def test_several_seeds_that_are_resumed():
    whole = datk.run(**TOY, seed=[0, 1], out="runs")
    Path("runs/seed-1/result.json").unlink()
    with pytest.raises(ConfigError, match="say which with --seed"):
        datk.run(out="runs", resume=True)
    assert datk.run(out="runs", resume=True, seed=[0, 1]) == whole
    assert datk.run(out="runs", resume=True, seed=[0, 1, 2]).seeds == [0, 1, 2]
