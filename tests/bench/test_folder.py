"""Folders that a suite may write its tables into."""

import json
from pathlib import Path

import pytest

from datk.base.errors import RunError
from datk.bench.folder import check_folder
from tests import build
from tests.earlier import EARLIER
from tests.toys import TOYS

SUITE = f"""
title = "Toys"
seeds = [0]
[config]
pair = {{ name = "{TOYS}Toy" }}
backbone = "mlp"
device = "cpu"
train = {{ epochs = 1, batch_size = 16 }}
[[table]]
name = "toys"
title = "Toys"
[[cell]]
name = "none"
config = {{ align = "none" }}
"""


@pytest.mark.parametrize("name", ["tables.md", "tables.csv", "tables.json", "notes/plan.txt"])
def test_a_folder_of_somebody_else_loses_nothing(name, datk):
    Path("suite.toml").write_text(SUITE)
    file = Path("out", name)
    file.parent.mkdir(parents=True)
    file.write_text('{"runs": 3}')
    outcome = datk("bench", "suite.toml", "--out", "out")
    assert (outcome.code, outcome.err) == (
        2, "error: out is not empty and holds no suite; choose another --out\n",
    )  # fmt: skip
    assert [path for path in Path("out").rglob("*") if path.is_file()] == [file]
    assert file.read_text() == '{"runs": 3}'


def test_a_suite_goes_on_in_its_folder(datk):
    Path("suite.toml").write_text(SUITE)
    Path("out/toys/none").mkdir(parents=True)  # interrupted before anything was written
    assert datk("bench", "suite.toml", "--out", "out").code == 0
    for name in ("suite.md", "suite.csv", "suite.json"):
        Path("out", name).unlink()
    assert "(was done)" in datk("bench", "suite.toml", "--out", "out").err
    assert len(json.loads(Path("out/suite.json").read_text())["runs"]) == 1


def test_a_folder_of_a_single_run_is_none_of_a_suite(tmp_path):
    build.run(tmp_path / "run")
    with pytest.raises(RunError, match=r"run holds a single run; a suite needs another --out"):
        check_folder(tmp_path / "run")


def test_folders_of_an_earlier_version_and_new_ones():
    check_folder(EARLIER / "runs" / "bench")
    check_folder(Path("new"))
    Path("new").mkdir()
    check_folder(Path("new"))
    Path("file").touch()
    with pytest.raises(RunError, match="is a file"):
        check_folder(Path("file"))


def test_two_suites_in_one_folder_keep_their_tables(datk):
    for name in ("one", "two"):
        Path(f"{name}.toml").write_text(SUITE.replace('title = "Toys"', f'title = "{name}"', 1))
        assert datk("bench", f"{name}.toml", "--out", "out").code == 0
    assert [Path(f"out/{name}.md").read_text().splitlines()[0] for name in ("one", "two")] == [
        "# one",
        "# two",
    ]
