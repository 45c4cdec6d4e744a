"""Shallow baselines of a suite: on which rows, of which samples, and what is done once."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from datk.base.errors import ConfigError
from datk.bench import shallow_runs, tables
from datk.bench.shallow_runs import run_shallow
from datk.bench.suite import read_suite
from datk.bench.sweep import run_suite
from datk.runs import outputs
from tests.toys import TOYS

NAMES = ("lr", "lr-z", "subspace", "coral-lr")
SUITE = f"""
title = "Toys"
seeds = [0, 1]
shallow = ["lr", "lr-z", "subspace", "coral-lr"]
metrics = ["accuracy", "brier"]
[config]
pair = {{ name = "{TOYS}Toy", shape = [5] }}
backbone = "mlp"
device = "cpu"
[config.data]
split_seed = "run"
[config.train]
epochs = 1
batch_size = 16
[[table]]
name = "toys"
title = "Toys"
[[cell]]
name = "none"
config = {{ align = "none" }}
"""
IMAGES = SUITE.replace("shape = [5]", "shape = [3, 16, 16]").replace('"mlp"', '"deepmerge"')


def ran(text=SUITE, seeds=(0, 1), out="out"):
    """Outcomes of the cells, and of the shallow baselines."""
    Path("suite.toml").write_text(text)
    suite, entries = read_suite("suite.toml")
    cells = run_suite(entries, seeds, Path(out))
    told = []
    found = run_shallow(suite, cells, Path(out), told.append)
    assert told == found
    return suite, cells, found


PAIR = f'pair = {{ name = "{TOYS}Toy", shape = [5] }}'
ARRAYS = SUITE.replace(
    PAIR,
    'pair = { name = "arrays", source = "a.npz", target = "a.npz", source_x = "source_x", '
    'source_y = "source_y", target_x = "target_x", target_y = "target_y" }',
)


def errors(outcomes):
    return {(o.status, o.error) for o in outcomes}


def test_every_table_has_them_with_every_seed():
    suite, cells, found = ran()
    assert [(o.entry.key, o.seed, o.status) for o in found] == [
        (f"toys/{name}", seed, "ran") for seed in (0, 1) for name in NAMES
    ]
    for outcome in found:
        result = outcome.result
        assert (result.seed, result.align, result.backbone) == (
            outcome.seed,
            outcome.entry.cell.name,
            "scikit-learn",
        )
        assert result.folder.parent == Path("out") / outcome.entry.key
        assert (result.uses_target_labels, result.epochs) == (False, 0)
    (filled,) = tables.fill(suite, [*cells, *found])
    assert [line.method for line in filled.lines[::2]] == ["none", *NAMES]
    assert all(line.gain is not None and line.seconds_per_epoch is None for line in filled.lines[3::2])
    assert "backbone mlp; " in filled.caption
    assert "; 1 epoch; " in filled.caption
    assert "C = 1" in filled.caption
    assert filled.absent == ()


def test_rows_are_those_of_the_cells():
    _, cells, found = ran(seeds=(3,))
    run = cells[0].result
    theirs = outputs.read(run.folder)
    for outcome in found:
        assert outcome.result.split == run.split
        assert outcome.result.answers_sha256 == run.answers_sha256
        assert outcome.result.class_counts == run.class_counts
        for part, own in outputs.read(outcome.result.folder).items():
            np.testing.assert_array_equal(own.rows, theirs[part].rows)
            np.testing.assert_array_equal(own.groups, theirs[part].groups)


@pytest.mark.parametrize("classes", [2, 3])
def test_numbers_are_those_of_a_script(classes):
    """With scikit-learn alone, from arrays and row numbers."""
    rng = np.random.default_rng(1)
    labels = np.arange(120) % classes
    x = {"source": rng.normal(size=(120, 6)) + labels[:, None], "target": rng.normal(size=(120, 6)) * 2 + 3}
    x["target"] += labels[:, None]
    np.savez("a.npz", source_x=x["source"], target_x=x["target"], source_y=labels, target_y=labels)
    _, cells, found = ran(ARRAYS, seeds=(0,))
    with np.load(cells[0].result.folder / "splits.npz") as arrays:
        rows = {name: np.sort(arrays[name]) for name in arrays.files if arrays[name].dtype.kind == "i"}
    own = {
        name: (x[name][rows[f"{name}_train"]].mean(0), x[name][rows[f"{name}_train"]].std(0)) for name in x
    }
    for name, constants in (("lr", own["source"]), ("lr-z", own["target"])):
        source = (x["source"] - own["source"][0]) / own["source"][1]
        target = (x["target"] - constants[0]) / constants[1]
        model = LogisticRegression(C=1.0, tol=1e-6, max_iter=1000)
        model.fit(source[rows["source_train"]], labels[rows["source_train"]])
        metrics = next(o.result.metrics for o in found if o.entry.cell.name == name)
        for domain, z in (("source", source), ("target", target)):
            test = rows[f"{domain}_test"]
            assert metrics[domain]["test"]["accuracy"] == pytest.approx(
                model.score(z[test], labels[test]), abs=1e-9
            )
        said = outputs.read(next(o.result.folder for o in found if o.entry.cell.name == name))[
            "target", "test"
        ]
        expected = model.predict_proba(target[said.rows])
        np.testing.assert_allclose(np.exp(said.logits), expected, atol=1e-4)


def test_what_is_done_is_left_alone():
    _, _, first = ran()
    _, _, again = ran(seeds=(0, 1, 2))
    assert [o.status for o in again] == ["was done"] * 8 + ["ran"] * 4
    assert [o.result for o in again[:8]] == [o.result for o in first]
    _, _, others = ran(SUITE.replace("shape = [5]", "shape = [5], shift = 2.0"))
    assert {o.status for o in others} == {"ran"}


def test_corrected_labels_are_scored_again():
    x, labels = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 2
    arrays = {"source_x": x, "source_y": labels, "target_x": x + 1, "target_y": labels}
    np.savez("a.npz", **arrays)
    _, _, first = ran(ARRAYS)
    np.savez("a.npz", **arrays | {"target_y": 1 - labels})
    _, cells, again = ran(ARRAYS)
    assert {o.status for o in again} == {"scored again"}
    for before, after in zip(first, again, strict=True):
        assert after.result.folder == before.result.folder
        assert after.result.answers_sha256 == cells[after.seed].result.answers_sha256
        assert after.result.weights_sha256 == before.result.weights_sha256
        correct = [o.result.metrics["target"]["test"]["accuracy"] for o in (before, after)]
        assert sum(correct) == pytest.approx(1)
    assert {o.status for o in ran(ARRAYS)[2]} == {"was done"}


def test_target_labels_change_no_fit():
    """Labels that are permuted, and none at all."""
    plain = [o.result.weights_sha256 for o in ran()[2]]
    for k, option in enumerate(("permute_answers = 1", "labelled = false")):
        found = ran(SUITE.replace("shape = [5]", f"shape = [5], {option}"), out=f"out{k}")[2]
        assert [o.result.weights_sha256 for o in found] == plain
    assert found[0].result.metrics["target"] == {}


def test_images_are_seen_as_features_of_source_only():
    text = IMAGES + '[[cell]]\nname = "mmd"\nconfig = { align = "mmd" }\n'
    suite, cells, found = ran(text, seeds=(0,))
    assert errors(found) == {("ran", "")}
    assert [o.entry.title for o in found] == [f"{name} on source-only features" for name in NAMES]
    assert all("source-only" in o.result.notes[-1] for o in found)
    of_lr, *others = [o.result.weights_sha256 for o in found]
    assert [sha256 == of_lr for sha256 in others] == [
        True,
        False,
        False,
    ]  # only the target's constants differ
    again = run_shallow(suite, cells, Path("out"))
    assert {o.status for o in again} == {"was done"}
    more = ran(text.replace("epochs = 1", "epochs = 2"), seeds=(0,))[2]
    assert {o.status for o in more} == {"ran"}


def test_features_are_those_that_the_run_selected():
    """The head of the network on the features that are read gives the logits that the run has kept."""
    _, cells, _ = ran(IMAGES.replace('"deepmerge"', '"mlp"'), seeds=(0,))
    pairs = shallow_runs._Pairs()
    base = shallow_runs._base(cells, pairs)
    assert base.features
    given = shallow_runs._Input(base, "per-domain", pairs)
    head = shallow_runs.load_initial(base.result.folder).backbone
    kept = outputs.read(base.result.folder)
    for (domain, _), part in kept.items():
        features = given._read(given.domains[domain], part.rows)
        weight, bias = (head[f"head.1.{name}"].double().numpy() for name in ("weight", "bias"))
        np.testing.assert_allclose(features @ weight.T + bias, part.logits, atol=1e-4)
    for domain, x in given.x.items():
        std = x.std(axis=0)
        np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-9, err_msg=domain)
        np.testing.assert_allclose(std[std > 0], 1)


def test_images_without_a_source_only_cell_have_no_features():
    _, _, found = ran(IMAGES.replace('"deepmerge"', '"mlp"').replace('"none" }', '"mmd" }'), seeds=(0,))
    assert {o.status for o in found} == {"failed"}
    assert "of a source-only cell (align = none" in found[0].error


def test_vectors_need_no_source_only_cell():
    _, _, found = ran(SUITE.replace('align = "none"', 'align = "mmd"'), seeds=(0,))
    assert errors(found) == {("ran", "")}


def test_a_table_without_a_result_has_none():
    bad = SUITE.replace('align = "none"', f'align = "none", reg = "{TOYS}NanAt"')
    suite, cells, found = ran(bad, seeds=(0,))
    assert errors(found) == {("failed", "no cell of the table has a result with this seed")}
    assert [o.entry.cell.name for o in found] == [*NAMES]
    assert "lr (seed 0)" in " ".join(tables.fill(suite, [*cells, *found])[0].absent)


def test_of_many_rows_some_are_drawn(monkeypatch):
    monkeypatch.setattr(shallow_runs, "ROWS", 20)
    monkeypatch.setattr(shallow_runs, "CHUNK", 16)
    _, _, found = ran(seeds=(0,))
    notes = [note for note in found[0].result.notes if "drawn at random" in note]
    assert len(notes) == 2
    assert "fitted to 20 of " in notes[0]
    again = ran(seeds=(0,), out="again")[2]
    assert [o.result.weights_sha256 for o in again] == [o.result.weights_sha256 for o in found]


def test_chunks_change_nothing(monkeypatch):
    plain = [o.result.metrics for o in ran(seeds=(0,))[2]]
    monkeypatch.setattr(shallow_runs, "CHUNK", 7)
    assert [o.result.metrics for o in ran(seeds=(0,), out="again")[2]] == plain


def test_no_warning_of_the_solver_is_shown(monkeypatch):
    monkeypatch.setattr("datk.bench.shallow.ITERATIONS", 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _, _, found = ran(seeds=(0,))
    assert not [w for w in caught if "converge" in str(w.message)]
    assert all("the solver did not converge in 1 steps" in o.result.notes for o in found)


def test_cells_that_lose_to_them_are_named():
    suite, cells, found = ran()
    results = [o.result.metrics["target"]["test"] for o in (*cells, *found)]
    for metrics, accuracy in zip(results, [0.5, 0.6, *[0.4, 0.6, 0.3, 0.2] * 2], strict=True):
        metrics["accuracy"] = accuracy
    (filled,) = tables.fill(suite, [*cells, *found])
    assert "Less accurate on the target than lr-z, the best shallow baseline: none." in filled.caption
    for o in cells:
        o.result.metrics["target"]["test"]["accuracy"] = 0.9
    assert "Less accurate" not in tables.fill(suite, [*cells, *found])[0].caption


@pytest.mark.parametrize(
    ("old", "new", "telling"),
    [
        ('"lr", "lr-z"', '"lr", "lr"', "shallow names 'lr' twice"),
        ('"lr-z"', '"svm"', "shallow"),
        ('name = "none"', 'name = "lr"', "a cell and a shallow baseline are called 'lr'"),
        ("[config]\n", '[config]\ntask = "regression"\n', "task=regression predicts none"),
    ],
)
def test_what_a_suite_may_not_say(old, new, telling):
    Path("suite.toml").write_text(SUITE.replace(old, new, 1))
    with pytest.raises(ConfigError, match=telling):
        read_suite("suite.toml")


def test_the_command_shows_them(datk):
    Path("suite.toml").write_text(SUITE)
    outcome = datk("bench", "suite.toml", "--seeds", "1", "--out", "out")
    assert outcome.code == 0
    assert "[5/5] toys/coral-lr, seed 0: accuracy source" in outcome.err
    assert "subspace" in outcome.out
    again = datk("bench", "suite.toml", "--seeds", "1", "--out", "out")
    assert again.err.count("(was done)") == 5


@pytest.mark.parametrize("options", ["sources = 2", 'groups = "shared"', "classes = 4", "labelled = false"])
def test_pairs_of_all_kinds(options):
    suite, cells, found = ran(SUITE.replace("shape = [5]", f"shape = [5], {options}"), seeds=(0,))
    assert errors(found) == {("ran", "")}
    assert all(o.result.metrics.keys() == cells[0].result.metrics.keys() for o in found)
    tables.markdown(suite, tables.fill(suite, [*cells, *found]), "datk bench")


def test_a_vote_is_a_run_beside_which_they_stand():
    found = ran(SUITE.replace('align = "none"', 'align = "auto"'), seeds=(0,))[2]
    assert errors(found) == {("ran", "")}


def test_scikit_learn_is_loaded_when_it_is_needed():
    code = "import sys, datk.bench.shallow_runs; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
