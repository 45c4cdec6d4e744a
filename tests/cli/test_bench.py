"""`datk bench` from the command line."""

import csv
import json
from pathlib import Path

import pytest

from tests.toys import TOYS

SUITE = f"""
title = "Toys"
seeds = [0, 1, 2]
[config]
pair = {{ name = "{TOYS}Toy" }}
backbone = "mlp"
device = "cpu"
[config.train]
epochs = 1
batch_size = 16
[[table]]
name = "toys"
title = "Toys of all kinds"
[[cell]]
name = "none"
title = "source only"
config = {{ align = "none" }}
[cell.reference.elsewhere]
target = {{ accuracy = 0.42 }}
"""
BAD = f'[[cell]]\nname = "bad"\nconfig = {{ align = "none", reg = "{TOYS}NanAt" }}\n'


@pytest.fixture(autouse=True)
def _suite():
    Path("toys.toml").write_text(SUITE)


def test_a_suite_becomes_tables(datk):
    outcome = datk("bench", "toys.toml", "--seeds", "2", "--epochs", "2")
    assert outcome.code == 0
    assert "Toys of all kinds" in outcome.out
    assert "source only" in outcome.out
    assert "elsewhere" in outcome.out
    assert "42" in outcome.out
    assert "[1/2] toys/none, seed 0: accuracy source" in outcome.err
    folder = Path("runs/bench-toys")
    assert str(folder / "toys.md") in outcome.out
    assert "± " in (folder / "toys.md").read_text()
    assert "2 epochs" in (folder / "toys.md").read_text()
    assert len(list(csv.reader((folder / "toys.csv").open()))) == 4
    runs = json.loads((folder / "toys.json").read_text())["runs"]
    assert [run["seed"] for run in runs] == [0, 1]
    again = datk("bench", "toys.toml", "--seeds", "2", "--epochs", "2")
    assert again.out == outcome.out
    assert again.err.count("(was done)") == 2


def test_no_line_of_the_table_is_broken(datk):
    shown = datk("bench", "toys.toml", "--seeds", "2", "--set", "train.lr=0.01").out
    rows = [line for line in shown.splitlines() if "source only" in line]
    assert len(rows) == 1
    assert rows[0].count("±") == 4


def test_a_failing_cell_is_named_and_the_exit_code_is_1(datk):
    Path("toys.toml").write_text(SUITE + BAD)
    outcome = datk("bench", "toys.toml", "--seeds", "1", "--out", "out")
    assert outcome.code == 1
    assert "[2/2] toys/bad, seed 0: failed:" in outcome.err
    assert "not in the table: bad (seed 0): failed:" in outcome.out
    assert "source only" in outcome.out


def test_a_suite_without_any_data_is_an_error(datk, monkeypatch):
    monkeypatch.setenv("DATK_DATA_DIR", "nothing")
    outcome = datk("bench", "deepmerge-ii", "--seeds", "1", "--out", "out")
    assert outcome.code == 2
    assert "error: illustris-simsim is not in nothing/illustris-simsim; fetch it once with" in outcome.err
    assert not Path("out/toys.md").exists()


@pytest.mark.parametrize(
    ("arguments", "telling"),
    [
        (["bench"], "missing argument"),
        (["bench", "toys"], "unknown suite 'toys'"),
        (["bench", "toys.toml", "--epochs", "0"], "--epochs"),
        (["bench", "toys.toml", "--seeds", "x"], "--seeds"),
        (["bench", "toys.toml", "--jobs", "0"], "--jobs"),
        (["bench", "toys.toml", "--set", "train.lrr=1"], "toys/none: unknown option 'train.lrr'"),
        (["bench", "toys.toml", "--out", "toys.toml"], "--out toys.toml is a file"),
    ],
)
def test_wrong_usage_is_one_line(datk, arguments, telling):
    outcome = datk(*arguments)
    assert outcome.code == 2
    assert telling in outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.err.startswith("error: ")
