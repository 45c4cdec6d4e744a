"""What a run records of the classes, and which of two is the positive one."""

import numpy as np
import pytest

from datk.base.errors import ConfigError
from datk.config.resolve import changed, options_of, resolve
from datk.interfaces import ComponentConfig
from datk.runs.result import read_result
from tests import build
from tests.toys import TOYS

# --- the positive class --------------------------------------------------------------------------------


def test_the_positive_class_changes_what_is_counted_and_not_what_is_trained(tmp_path):
    second, first, named = (
        build.run(tmp_path / name, "mmd", pair={"positive": name} if name else {})
        for name in ("", "class 0", "class 1")
    )
    assert (second.positive, first.positive, named.positive) == ("class 1", "class 0", "class 1")
    assert second.classes == first.classes == ["class 0", "class 1"]
    assert first.weights_sha256 == second.weights_sha256 == named.weights_sha256
    assert first.data_sha256 == second.data_sha256
    assert named.metrics == second.metrics
    for domain, counts in (("source", 8), ("target", 10)):
        ours, theirs = (result.metrics[domain]["test"] for result in (first, second))
        assert ours["n"] == theirs["n"] == counts
        assert (ours["accuracy"], ours["brier"]) == pytest.approx((theirs["accuracy"], theirs["brier"]))
        hits = ours["recall"] * counts / 2 + theirs["recall"] * counts / 2  # the classes have equal rows
        assert hits == pytest.approx(ours["accuracy"] * counts)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ({"positive": "class 2"}, r"no such class; choose one of 'class 0', 'class 1'$"),
        ({"positive": "class 0", "classes": 3}, r"and there are 3 \('class 0', 'class 1', 'class 2'\)"),
        ({"positive": ""}, r"pair\.positive=: there is no such class"),
    ],
)
def test_a_positive_class_that_cannot_be(pair, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        build.run(tmp_path / "run", pair=pair)
    assert not (tmp_path / "run").exists()


def test_a_run_remembers_its_classes_and_their_rows(tmp_path):
    result = build.run(tmp_path / "run", pair={"classes": 3, "source_rows": 60})
    assert result.classes == ["class 0", "class 1", "class 2"]
    assert result.positive is None
    assert {part: sum(rows.values()) for part, rows in result.class_counts["source"].items()} == {
        "train": 42, "validation": 6, "test": 12,
    }  # fmt: skip
    assert result.class_counts["source"]["train"] == dict.fromkeys(result.classes, 14)
    assert sum(result.class_counts["target"]["test"].values()) == result.target_labels["scored"] == 10
    assert read_result(tmp_path / "run") == result


def test_every_pair_has_the_option_and_none_is_another_run_for_it():
    plain = resolve(config={"pair": TOYS + "Toy"})
    assert (plain.positive, plain.config.pair["positive"]) == (None, None)
    assert "positive" not in changed(plain)["pair"]
    chosen = resolve(config={"pair": {"name": TOYS + "Toy", "positive": 1}})
    assert (chosen.positive, changed(chosen)["pair"]["positive"]) == ("1", "1")
    assert isinstance(chosen.pair.config, chosen.pair.cls.Config)
    assert options_of(chosen.pair.cls) is type(chosen.pair.config)
    with pytest.raises(ConfigError, match=r"unknown option 'pair\.postive'; did you mean 'pair\.positive'"):
        resolve(config={"pair": {"name": TOYS + "Toy", "postive": "a"}})


def test_a_pair_may_have_an_option_of_that_name_for_another_end(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        """
from tests.toys import Toy, ToyConfig

class OwnConfig(ToyConfig):
    positive: float = 0.5

class Own(Toy):
    Config = OwnConfig
"""
    )
    chosen = resolve(config={"pair": {"name": f"{file}:Own", "positive": 2}})
    assert (chosen.positive, chosen.config.pair["positive"]) == (None, 2.0)
    assert issubclass(options_of(chosen.pair.cls), ComponentConfig)


# --- a target that is labelled in part, from the command line ------------------------------------------


def test_the_labelled_rows_of_a_file_are_scored(datk):
    rng, labels = np.random.default_rng(0), np.array(["merger", "nonmerger"])[np.arange(90) % 2]
    x = rng.normal(size=(90, 5)) + 3 * (labels == "merger")[:, None]
    answers = labels.astype("U12")
    answers[::4], answers[1::9] = "", "artefact"
    np.savez("data.npz", x=x, y=labels, t=answers)
    pair = {"source": "data.npz", "source_x": "x", "source_y": "y", "target": "data.npz", "target_x": "x"}
    options = {**{f"pair.{key}": value for key, value in pair.items()}, "pair.target_y": "t"}
    flags = [word for key, value in options.items() for word in ("--set", f"{key}={value}")]
    flags += ["--set", "data.target_rows=split"]
    run = ["run", "--pair", "arrays", "--backbone", "mlp", "--align", "mmd", "--epochs", "2", *flags]
    said = datk(*run, "--set", "pair.positive=merger", "--set", "train.lr=0.05", "--out", "run")
    assert said.code == 0
    result, rows = read_result("run"), np.load("run/splits.npz")["target_test"]
    wanted = [str(answer) for answer in answers[rows] if answer in ("merger", "nonmerger")]
    assert result.metrics["target"]["test"]["n"] == len(wanted) < len(rows) == 18
    assert result.class_counts["target"]["test"] == {
        name: wanted.count(name) for name in ("merger", "nonmerger")
    }
    assert result.target_labels["other_class"] == list(answers[rows]).count("artefact")
    assert any("labels that the source does not have: 'artefact'" in note for note in result.notes)
    assert any(note.startswith(f"{len(wanted)} of 18 test rows of the target are") for note in result.notes)
    assert (result.positive, result.classes) == ("merger", ["merger", "nonmerger"])
