"""A regression from end to end: shifted domains, several numbers, several sources, a user's mistakes."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

import datk as toolkit
from datk.base.numbers import number_text
from datk.bench.suite import read_suite

ALIGNMENTS = ["none", "mmd", "coral", "dann"]
TELESCOPES = np.array(["HST", "JWST", "HST"])
STOPS = """
from pathlib import Path
from datk_discrepancy.coral import CORAL

class Stops(CORAL):
    def on_epoch_start(self, backbone, rows):
        if Path("stop").exists() and "epoch   2" in Path("run/log.txt").read_text():
            raise KeyboardInterrupt
"""


def domain(rows, seed, shift):
    """Vectors that a number of each row, from 0 to 3, is written into."""
    rng = np.random.default_rng(seed)
    number = rng.uniform(0, 3, rows)
    x = number[:, None] * [1.0, -0.5, 0.3, 0.0] + rng.normal(scale=0.1, size=(rows, 4)) + shift
    return x.astype(np.float32), number


@pytest.fixture
def arrays(tmp_path):
    """Source and target differ by a shift; `many` are three numbers of different units."""
    (xs, ys), (xt, yt) = domain(300, 0, 0.0), domain(200, 1, 2.0)

    def many(y):
        return np.stack([y, 3e5 * y - 1e6, 1e-4 * y**2], axis=1)

    content = {
        "xs": xs, "ys": ys, "xt": xt, "yt": yt, "many_s": many(ys), "many_t": many(yt),
        "telescope": TELESCOPES[np.arange(300) % 3], "classes": (ys > 1).astype(int),
        "text": np.array(["a", "b"] * 150),
        "gaps": np.where(ys > 2.9, np.nan, ys), "same": np.full(300, 0.1), "two": np.ones((200, 2)),
        "whole": (100 * ys).astype(int),
    }  # fmt: skip
    np.savez(tmp_path / "numbers.npz", **content)
    return content


def pair(**options):
    keys = {"source_x": "xs", "source_y": "ys", "target_x": "xt", "target_y": "yt"}
    files = {domain: str(Path("numbers.npz").absolute()) for domain in ("source", "target")}
    return {"name": "arrays", **files, **keys, **options}


def run(align="none", epochs=25, out="run", options=None, **settings):
    train = {"train.batch_size": 32, "train.lr": 0.01}
    backbone = {"name": "mlp", "hidden": [32, 16]}
    # The target is standardised by itself, as its features have another offset and scale.
    given = {"task": "regression", "data.standardize": "per-domain"} | train | settings
    chosen = {"pair": pair(**(options or {})), "backbone": backbone, "align": align}
    return toolkit.run(**chosen, epochs=epochs, out=out, device="cpu", set=given, force=True)


def arguments(*more, **options):
    given = pair(**options)
    set_ = [f"--set=pair.{key}={value}" for key, value in given.items() if value and key != "name"]
    return [
        "--pair",
        "arrays",
        "--backbone",
        "mlp",
        "--epochs",
        "1",
        "--device",
        "cpu",
        "--out",
        "run",
        *set_,
        *more,
    ]


# --- it learns -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("align", ALIGNMENTS)
def test_a_number_is_learnt_and_carried_over(arrays, align):
    result = run(align)
    metrics = {domain: parts["test"] for domain, parts in result.metrics.items()}
    assert metrics["source"]["r2"] > 0.9
    assert metrics["target"]["r2"] > 0.8
    assert list(metrics["target"]) == ["r2", "mae", "rmse", "n"]
    assert metrics["target"]["mae"] <= metrics["target"]["rmse"] < 0.5
    assert metrics["source"]["n"] == 60
    assert (result.task, result.uses_target_labels, result.selected_by) == (
        "datk:regression",
        False,
        "last",
    )


def test_several_numbers_of_different_units(arrays):
    options = {"source_y": "many_s", "target_y": "many_t", "targets": ["z", "mass", "size"]}
    found = run("mmd", options=options).metrics["source"]["test"]
    assert min(found[f"r2 {name}"] for name in ("z", "mass", "size")) > 0.8
    assert found["r2"] == pytest.approx(np.mean([found[f"r2 {name}"] for name in ("z", "mass", "size")]))
    assert found["mae mass"] > 1e3
    assert found["mae size"] < 1e-3
    splits = np.load("run/splits.npz")["source_test"]
    truth = arrays["many_s"][splits]
    for k, name in enumerate(("z", "mass", "size")):
        spread = ((truth[:, k] - truth[:, k].mean()) ** 2).mean()
        assert found[f"rmse {name}"] ** 2 == pytest.approx((1 - found[f"r2 {name}"]) * spread)


def test_units_change_nothing_but_units(arrays):
    content = dict(arrays) | {"scaled_s": 1e5 * arrays["ys"] - 7e7, "scaled_t": 1e5 * arrays["yt"] - 7e7}
    np.savez("numbers.npz", **content)
    plain, scaled = (
        run(epochs=3, options=options).metrics["target"]["test"]
        for options in ({}, {"source_y": "scaled_s", "target_y": "scaled_t"})
    )
    assert scaled["r2"] == pytest.approx(plain["r2"], rel=1e-3)
    assert scaled["mae"] == pytest.approx(1e5 * plain["mae"], rel=1e-3)


def test_whole_numbers_may_be_numbers(arrays):
    result = run(epochs=1, options={"source_y": "whole", "target_y": None})
    assert result.metrics["source"]["test"]["mae"] > 1
    assert result.metrics["target"] == {}


def test_each_of_several_sources_has_its_metrics(arrays):
    result = run(epochs=2, options={"source_domain": "telescope"})
    parts = {name: metrics["test"] for name, metrics in result.metrics.items()}
    assert parts.keys() == {"source", "source: HST", "source: JWST", "target"}
    counts = {name: part["n"] for name, part in parts.items()}
    assert counts["source: HST"] + counts["source: JWST"] == counts["source"] == 60
    together = (
        sum(parts[f"source: {name}"]["mae"] * counts[f"source: {name}"] for name in ("HST", "JWST")) / 60
    )
    assert parts["source"]["mae"] == pytest.approx(together)


def test_the_oracle_is_stamped_and_chooses_by_r2(arrays):
    result = run("mmd", epochs=4, **{"train.select": "oracle"})
    assert result.uses_target_labels
    assert any("an upper bound, no method" in note for note in result.notes)


def test_target_labels_that_are_all_the_same(arrays):
    np.savez("numbers.npz", **dict(arrays) | {"yt": np.full(200, 1.5)})
    result = run(epochs=2, **{"train.select": "oracle"})
    assert result.metrics["target"]["test"]["r2"] is None
    assert result.metrics["target"]["test"]["mae"] > 0


def test_an_interrupted_run_ends_with_the_same_bits(arrays):
    Path("stops.py").write_text(STOPS)
    whole = run("./stops.py:Stops", epochs=4, out="whole")
    Path("stop").touch()
    with pytest.raises(KeyboardInterrupt):
        run("./stops.py:Stops", epochs=4)
    Path("stop").unlink()
    assert not Path("run/result.json").exists()
    resumed = toolkit.run(config="run/config.json", out="run", resume=True)
    assert "resumed after epoch 2" in Path("run/log.txt").read_text()
    assert resumed.weights_sha256 == whole.weights_sha256
    assert resumed.metrics == whole.metrics


# --- what it looks like --------------------------------------------------------------------------------


def test_the_table_of_a_run(datk, arrays):
    outcome = datk("run", *arguments("--set=task=regression", source_domain="telescope"))
    assert outcome.code == 0, outcome.err
    metrics = json.loads(Path("run/result.json").read_text())["metrics"]
    rows = [line.split() for line in outcome.out.splitlines()]
    assert ["test", "split", "source", "source:", "HST", "source:", "JWST", "target"] in rows
    domains = ("source", "source: HST", "source: JWST", "target")
    assert ["R²", *(f"{metrics[domain]['test']['r2']:.3f}" for domain in domains)] in rows
    assert ["rows", *(str(metrics[domain]["test"]["n"]) for domain in domains)] in rows
    (mae,) = [row for row in rows if row[:1] == ["MAE"]]
    for shown, domain in zip(mae[1:], domains, strict=True):
        assert float(shown) == pytest.approx(metrics[domain]["test"]["mae"], rel=5e-4)
        assert len(shown.replace(".", "").lstrip("0")) == 4
    assert "epoch   1  validation loss" in outcome.err
    assert "  r2 " in outcome.err


def test_the_table_of_several_numbers_and_seeds(datk, arrays):
    options = {"source_y": "many_s", "target_y": "many_t", "targets": '["z", "mass", "size"]'}
    outcome = datk("run", *arguments("--set=task=regression", "--seed=0,1", **options))
    assert outcome.code == 0, outcome.err
    titles = [
        line.split("  ")[1] for line in outcome.out.splitlines() if " ± " in line and line.startswith("  ")
    ]
    kinds = ("R²", "MAE", "RMSE")
    assert titles == [f"{kind}{of}" for of in (" (mean)", " z", " mass", " size") for kind in kinds]
    summary = json.loads(Path("run/summary.json").read_text())["metrics"]["target"]["test"]["mae size"]
    assert summary["std"] > 0
    assert number_text(summary["mean"], summary["std"], any_size=True) in outcome.out


def test_an_undefined_metric_is_a_dash(datk, arrays):
    np.savez("numbers.npz", **dict(arrays) | {"yt": np.full(200, 1.5)})
    outcome = datk("run", *arguments("--set=task=regression"))
    (row,) = [line.split() for line in outcome.out.splitlines() if "R²" in line]
    assert row[2] == "–"
    assert float(row[1]) <= 1


@pytest.mark.parametrize(
    ("more", "options", "message"),
    [
        ([], {"source_y": "text"}, "'text' in {file} holds strings, and task=regression predicts numbers"),
        ([], {"source_y": "gaps"}, "rows are NaN or infinite, the first is row "),
        ([], {"source_y": "same"}, "the label is 0.1 in all training rows of the source"),
        ([], {"target_y": "two"}, "has 1 number a row, but 'two' in {file} has 2 numbers a row"),
        ([], {"classes": '["a", "b"]'}, "pair.classes names classes, and task=regression predicts numbers"),
        ([], {"targets": '["a", "b"]'}, "pair.targets is 'a', 'b', but 'ys' in {file} has 1 number a row"),
        (["--reg=fisher"], {}, "regularizer 'fisher' needs classes, and task 'regression' predicts none"),
        (["--reg=entropy"], {}, "regularizer 'entropy' needs classes, and task 'regression' predicts none"),
        (["--set=train.select=source-validation-accuracy"], {}, "selector 'source-validation-accuracy'"),
        (["--set=train.balance=9"], {}, "train.balance needs classes"),
        (["--set=task=classification"], {}, "are not whole numbers, the first in row 0"),
        (
            ["--set=task=classification"],
            {"source_y": "classes", "target_y": None, "targets": '["a"]'},
            "pair.targets names the numbers of a regression; set task=regression",
        ),
    ],
)
def test_mistakes_are_one_line(datk, arrays, more, options, message):
    outcome = datk("run", *arguments("--set=task=regression", *more, **options))
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert message.format(file=Path("numbers.npz").absolute()) in outcome.err
    assert not Path("run").exists()


def test_classes_are_no_numbers(datk):
    outcome = datk("run", "--pair", "mock-mergers", "--set=task=regression", "--set=pair.images=40")
    assert outcome.code == 2
    assert (
        "the labels are classes (non-merger, merger), not numbers; leave out task=regression" in outcome.err
    )


def test_the_audit_of_numbers(datk, arrays):
    given = [argument for argument in arguments() if argument.startswith("--set")]
    outcome = datk("data", "audit", "arrays", "--set=task=regression", *given)
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    assert "label distribution" in outcome.out
    assert "target labels were not looked at" in outcome.out


def test_the_page_of_regression(datk):
    page = (Path(__file__).parents[2] / "docs" / "regression.md").read_text()
    config, part = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    Path("galaxies.toml").write_text(config)
    rng = np.random.default_rng(0)
    for name in ("simulated", "observed"):
        np.savez(f"{name}.npz", images=rng.normal(size=(40, 1, 16, 16)), numbers=rng.normal(size=(40, 2)))
    commands = [line.split("#")[0].split()[1:] for line in page.splitlines() if line.startswith("    datk ")]
    assert [command[:2] for command in commands] == [
        ["data", "audit"],
        ["run", "--config"],
        ["run", "--config"],
    ]
    for command in commands:
        more = ["--epochs", "1", "--device", "cpu"] if command[0] == "run" else []
        outcome = datk(*command, *more)
        assert outcome.code == 0, outcome.err
    assert "RMSE log mass" in outcome.out
    cell = '[[table]]\nname = "t"\ntitle = "T"\n[[cell]]\nname = "c"\n'
    Path("part.toml").write_text(f'title = "T"\n{part}{cell}')
    assert read_suite("part.toml")[0].metrics == ("r2", "rmse redshift", "rmse log mass")


# --- suites --------------------------------------------------------------------------------------------

SUITE = """
title = "Numbers"
seeds = [0, 1]
[config]
task = "regression"
device = "cpu"
backbone = { name = "mlp", hidden = [8] }
pair = PAIR
[config.train]
epochs = 1
[[table]]
name = "t"
title = "All"
[[cell]]
name = "none"
config = { align = "none" }
[cell.reference.paper]
target = { r2 = 0.853, mae = 1e-5, "mae mass" = 12345.5 }
impossible = ["target.mae"]
[[cell]]
name = "oracle"
config = { align = "mmd", train.select = "oracle" }
"""


def suite(datk, text=SUITE, *more, **options):
    inline = ", ".join(f"{key} = {json.dumps(value)}" for key, value in pair(**options).items())
    Path("numbers.toml").write_text(text.replace("PAIR", f"{{ {inline} }}"))
    return datk("bench", "numbers.toml", "--out", "bench", *more)


def test_the_tables_of_a_suite(datk, arrays):
    outcome = suite(datk, source_domain="telescope")
    assert outcome.code == 0, outcome.err
    assert "[1/4] t/none, seed 0: R² source " in outcome.err
    page = Path("bench/numbers.md").read_text()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("|")]
    assert rows[0] == ["| method", "domain", "by", "R²", "MAE", "RMSE", "s/epoch |"]
    domains = ["source", "source: HST", "source: JWST", "target"]
    assert [row[1] for row in rows[2:]] == [*domains, "", *domains]
    assert rows[6][2:6] == ["paper", "0.853", "1e-05‡", "–"]
    assert "epoch chosen by last (no target label is used) or oracle (with target labels" in page
    assert "† chosen by oracle. " in page
    assert "‡ contradicts" in page
    assert all(
        ("†" in cell) == (number >= 7)
        for number, row in enumerate(rows[2:], 2)
        for cell in row[3:6]
        if "±" in cell
    )
    runs = json.loads(Path("bench/numbers.json").read_text())["runs"]
    values = [
        run["result"]["metrics"]["source: JWST"]["test"]["mae"] for run in runs if run["entry"] == "t/none"
    ]
    lines = list(csv.DictReader(Path("bench/numbers.csv").read_text().splitlines()))
    (line,) = [row for row in lines if (row["method"], row["domain"]) == ("none", "source: JWST")]
    assert float(line["mae_mean"]) == pytest.approx(np.mean(values))
    assert float(line["mae_std"]) == pytest.approx(np.std(values, ddof=1))
    assert [row["uses_target_labels"] for row in lines] == ["false"] * 4 + [""] + ["true"] * 4


def test_a_suite_may_show_the_metrics_of_one_number(datk, arrays):
    options = {"source_y": "many_s", "target_y": "many_t", "targets": ["z", "mass", "size"]}
    text = SUITE.replace("seeds = [0, 1]", 'seeds = [0]\nmetrics = ["r2", "mae mass", "mae msas"]')
    outcome = suite(datk, text, **options)
    assert outcome.code == 0, outcome.err
    page = Path("bench/numbers.md").read_text()
    assert "| method | domain | by | R² | MAE mass | MAE msas | s/epoch |" in page
    assert "| paper | 0.853 | 12345.5 | – |" in page
    assert "Metrics without a name are means over z, mass, size." in page
    assert "- Not in the table: mae msas: no run has this metric; there are r2, mae, rmse, r2 z," in page
    result = json.loads(Path("bench/numbers.json").read_text())["runs"][0]["result"]
    assert f"{result['metrics']['target']['test']['mae mass']:.0f}" in page


def test_numbers_above_one_keep_their_digits_in_the_console(datk, arrays):
    np.savez("numbers.npz", **dict(arrays) | {"ys": 100 * arrays["ys"], "yt": 100 * arrays["yt"]})
    outcome = suite(datk, SUITE, "--seeds", "1")
    found = json.loads(Path("bench/numbers.json").read_text())["runs"][0]["result"]["metrics"]
    assert found["source"]["test"]["mae"] > 10
    for domain in ("source", "target"):
        assert f" {found[domain]['test']['mae']:.2f}"[:5] in outcome.out


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds", 'metrics = ["accuracy"]\nseeds', "unknown metric 'accuracy'"),
        ("r2 = 0.853", "R2 = 0.853", "unknown metric 'R2'; known: mae, r2, rmse"),
        (
            'task = "regression"\n',
            'task = "regresion"\n',
            "unknown task 'regresion'; did you mean 'regression'?",
        ),
        (
            'config = { align = "none" }',
            'config = { align = "none", task = "classification" }',
            "t/none: its task is classification, that of the suite regression; a suite has one task, ",
        ),
    ],
)
def test_suites_that_contradict_themselves(datk, old, new, message):
    outcome = suite(datk, SUITE.replace(old, new, 1))
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
