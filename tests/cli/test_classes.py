"""What the command line shows of classes."""

import json
from pathlib import Path

import pytest

from datk.runs.result import read_result
from tests.toys import TOYS

RUN = ["run", "--pair", TOYS + "Toy", "--backbone", "mlp", "--align", "none", "--epochs", "1", "--out", "run"]


def rows(said):
    """The cells of each line that names a class."""
    return {
        " ".join(words[:-4]): [int(word) for word in words[-4:]]
        for words in (line.split() for line in said.out.splitlines())
        if words[:1] == ["class"] and len(words) > 4
    }


def test_a_run_shows_its_classes_and_their_rows(datk):
    said = datk(*RUN, "--set", "pair.positive=class 0")
    counts = read_result("run").class_counts
    parts = [*(counts["source"][part] for part in ("train", "validation", "test")), counts["target"]["test"]]
    assert "rows of class" in said.out
    assert rows(said) == {
        "class 0 (positive)": [part["class 0"] for part in parts],
        "class 1": [part["class 1"] for part in parts],
    }
    assert sum(map(sum, rows(said).values())) == 40 + 50


def test_several_seeds_show_them_once_or_their_names(datk):
    said = datk(*RUN, "--seed", "0,1")
    assert said.out.count("rows of class") == 1
    assert list(rows(said)) == ["class 0", "class 1 (positive)"]
    path = Path("run/seed-1/result.json")
    result = json.loads(path.read_text())
    result["class_counts"]["source"]["train"]["class 0"] += 1
    path.write_text(json.dumps(result))
    said = datk(*RUN, "--seed", "0,1", "--resume")
    assert "rows of class" not in said.out
    assert "classes: class 0, class 1 (positive); result.json has the rows of each" in said.out


@pytest.mark.parametrize("classes", [12, 15])
def test_many_classes_are_shown_in_short(datk, classes):
    more = ["--set", f"pair.classes={classes}", "--set", "pair.source_rows=240"]
    said = datk(*RUN, *more)
    if classes == 12:
        assert len(rows(said)) == 12
    else:
        names = ", ".join(f"class {k}" for k in range(12))
        assert f"classes: {names} and 3 more; result.json has the rows of each" in " ".join(said.out.split())


def test_a_choice_that_there_is_not_is_told(datk):
    said = datk(*RUN, "--set", "pair.positive=class0")
    assert said.code == 2
    assert said.err == (
        "error: pair.positive=class0: there is no such class; choose one of 'class 0', 'class 1'\n"
    )
    assert not Path("run").exists()


def test_another_positive_class_is_scored_again_and_not_averaged_with_others(datk):
    assert datk(*RUN, "--seed", "0,1").code == 0
    said = datk(*RUN, "--seed", "0", "--resume", "--set", "pair.positive=class 0")
    before, after = read_result("run/seed-1"), read_result("run/seed-0")
    assert (before.positive, after.positive) == ("class 1", "class 0")
    assert "run/seed-1 is not in summary.json: its positive class is another; give its seed" in said.err
    assert json.loads(Path("run/summary.json").read_text())["seeds"] == [0]
    assert datk(*RUN, "--seed", "0,1", "--resume", "--set", "pair.positive=class 0").code == 0
    assert json.loads(Path("run/summary.json").read_text())["seeds"] == [0, 1]
