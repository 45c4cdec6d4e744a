"""Tables of a suite: numbers, references, captions, and what is not in them."""

import csv
import io
import json
import re
from pathlib import Path
from statistics import fmean, stdev

import pytest

from datk.base.errors import ConfigError
from datk.bench.suite import read_suite
from datk.bench.sweep import Outcome
from datk.bench.tables import csv_text, fill, markdown, record
from datk.cli.console.bench import _tight
from datk.runs.result import RunResult

SUITE = """
title = "Small"
text = "What to know."
metrics = ["auc", "accuracy"]
[[table]]
name = "one"
title = "One"
text = "Of this table."
[[cell]]
name = "none"
title = "source only"
[cell.reference.paper]
source = { auc = 0.9, accuracy = 0.8 }
target = { auc = 0.7 }
impossible = ["target.auc"]
[[cell]]
name = "mmd"
"""
ACCURACY = {0: 0.5, 1: 0.7, 2: 0.9}


def result(seed, **changes):
    def metrics(accuracy):
        rest = dict.fromkeys(("precision", "recall", "f1", "brier", "ece"), 0.25)
        return {"accuracy": accuracy, "auc": None if accuracy == 0.5 else accuracy, **rest, "n": 40}

    known = {
        "datk": "0.1.0", "pair": "toy", "backbone": "mlp", "align": "none", "reg": [], "seed": seed,
        "split": "grouped", "selected_by": "last", "uses_target_labels": False, "epochs": 4,
        "selected_epoch": 4, "seconds": 8.0, "seconds_per_epoch": 2.0 + seed, "device": "cpu",
        "weights_sha256": "", "data_sha256": "", "notes": ["toy data"],
        "metrics": {"source": {"test": metrics(0.9)}, "target": {"test": metrics(ACCURACY[seed])}},
    }  # fmt: skip
    return RunResult(**known | changes)


@pytest.fixture
def suite():
    Path("suite.toml").write_text(SUITE)
    return read_suite("suite.toml")


def outcomes(entries, **changes):
    none, mmd = entries
    return [
        *(Outcome(none, seed, "ran", result(seed, **changes)) for seed in ACCURACY),
        Outcome(mmd, 0, "was done", result(0, **changes)),
        Outcome(mmd, 1, "failed", error="not finite"),
        Outcome(mmd, 2, "data missing", error="fetch it"),
    ]


def test_lines_whose_runs_raised_alarms_are_marked_and_the_caption_has_their_codes(suite):
    few, shift = ({"code": code, "message": "m"} for code in ("few-rows", "label-shift"))
    none, mmd = suite[1]
    done = [
        Outcome(none, 0, "ran", result(0, alarms=[few])),
        Outcome(none, 1, "ran", result(1)),
        Outcome(mmd, 0, "ran", result(0, alarms=[few, shift])),
    ]
    (table,) = tables = fill(suite[0], done)
    assert "result.json and log.txt of the runs tell more: few-rows, label-shift (mmd)." in table.caption
    marked = {line.method: line.alarms for line in table.lines if line.seeds}
    assert list(marked.values()) == [("few-rows",), ("few-rows", "label-shift")]
    page = markdown(suite[0], tables, "datk bench")
    assert "| source only § |" in page
    assert "| mmd § |" in page
    rows = list(csv.DictReader(io.StringIO(csv_text(suite[0], tables))))
    assert [row["alarms"] for row in rows if row["by"] == "datk"][::2] == ["few-rows", "few-rows label-shift"]
    (table,) = fill(suite[0], [Outcome(none, 0, "ran", result(0))])
    assert "§" not in markdown(suite[0], [table], "datk bench")
    assert "alarms" not in csv_text(suite[0], [table]).splitlines()[0]


def test_means_and_deviations(suite):
    (table,) = fill(suite[0], outcomes(suite[1]))
    lines = {(line.method, line.domain, line.by): line for line in table.lines}
    target = lines["source only", "target", "datk"]
    assert target.numbers["accuracy"].mean == pytest.approx(fmean(ACCURACY.values()))
    assert target.numbers["accuracy"].std == pytest.approx(stdev(ACCURACY.values()))
    assert target.cell("accuracy") == "0.700 ± 0.200"
    assert target.seconds_per_epoch == pytest.approx(3.0)
    assert "auc" not in target.numbers
    assert target.cell("auc") == "–"
    assert lines["source only", "source", "datk"].cell("auc") == "0.900 ± 0.000"


def test_what_is_not_there_is_told(suite):
    (table,) = fill(suite[0], outcomes(suite[1]))
    partial = [line for line in table.lines if line.method == "mmd (1 of 3 seeds)"]
    assert [line.domain for line in partial] == ["source", "target"]
    assert partial[1].cell("accuracy") == "0.500"
    assert table.absent == ("mmd (seed 1): failed: not finite", "mmd (seed 2): data missing: fetch it")


def test_references_stand_beside_and_are_marked(suite):
    (table,) = fill(suite[0], outcomes(suite[1]))
    paper = [line for line in table.lines if line.by == "paper"]
    assert [(line.domain, line.cell("auc"), line.cell("accuracy")) for line in paper] == [
        ("source", "0.90", "0.80"),
        ("target", "0.70‡", "–"),
    ]
    assert "‡ contradicts other published numbers" in table.caption


def test_the_caption_says_how_the_numbers_were_made(suite):
    (table,) = fill(suite[0], outcomes(suite[1]))
    for part in (
        "seeds 0, 1, 2",
        "chosen by last",
        "split grouped",
        "4 epochs",
        "40 source and 40 target",
        "toy data",
    ):
        assert part in table.caption
    assert "copies in training" not in table.caption
    (paper,) = fill(suite[0], outcomes(suite[1], split="paper"))
    assert "split=paper deals single images: test objects have copies in training" in paper.caption


def test_runs_that_differ_are_told_apart(suite):
    mixed = outcomes(suite[1])
    mixed[0] = Outcome(suite[1][0], 0, "ran", result(0, device="cuda", epochs=2))
    (table,) = fill(suite[0], mixed)
    assert "cuda or cpu" in table.caption
    assert "2 to 4 epochs" in table.caption


def test_a_note_of_some_cells_names_them(suite):
    none, mmd = suite[1]
    (table,) = fill(suite[0], [
        Outcome(none, 0, "ran", result(0)), Outcome(mmd, 0, "ran", result(0, notes=["toy data", "made up"])),
    ])  # fmt: skip
    assert "Note: toy data. Note: mmd: made up." in table.caption


def test_one_seed_has_no_mean(suite):
    (table,) = fill(suite[0], [Outcome(suite[1][0], 0, "ran", result(0, epochs=1))])
    assert table.caption.startswith("Test rows, seed 0; ")
    assert "; 1 epoch; " in table.caption


def test_a_table_without_any_run(suite):
    nothing = [Outcome(entry, 0, "data missing", error="fetch it") for entry in suite[1]]
    (table,) = fill(suite[0], nothing)
    assert table.caption == "No run is complete."
    assert [line.by for line in table.lines] == ["paper", "paper"]
    assert table.absent == ("source only (seed 0), mmd (seed 0): data missing: fetch it",)
    assert "fetch it" in markdown(suite[0], [table], "datk bench x")


def test_markdown(suite):
    page = markdown(suite[0], fill(suite[0], outcomes(suite[1])), "datk bench suite.toml")
    assert page.startswith(
        "# Small\n\nWhat to know.\n\n    datk bench suite.toml\n\n## One\n\nOf this table.\n\n| method |"
    )
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {7}
    assert rows[2] == "| source only | source | datk | 0.900 ± 0.000 | 0.900 ± 0.000 | 3.00 |"
    assert rows[3] == "|  |  | paper | 0.90 | 0.80 |  |"
    assert "- Not in the table: mmd (seed 1): failed: not finite" in page


def test_csv(suite):
    rows = list(csv.DictReader(io.StringIO(csv_text(suite[0], fill(suite[0], outcomes(suite[1]))))))
    target = next(
        row for row in rows if (row["method"], row["domain"], row["by"]) == ("source only", "target", "datk")
    )
    assert float(target["accuracy_mean"]) == pytest.approx(0.7)
    assert float(target["accuracy_std"]) == pytest.approx(0.2)
    assert (target["auc_mean"], target["seeds"], target["table"]) == ("", "3", "one")


def test_json_holds_every_run(suite):
    content = json.loads(json.dumps(record(suite[0], outcomes(suite[1]), "datk bench x")))
    assert [run["status"] for run in content["runs"]] == ["ran"] * 3 + ["was done", "failed", "data missing"]
    assert content["runs"][4]["error"] == "not finite"
    assert content["runs"][0]["result"]["metrics"]["target"]["test"]["accuracy"] == 0.5


# --- text and numbers of all kinds ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (80.5, "80.50"), (8.5, "8.50"), (0.805, "0.805"), (100.0, "100.00"), (100.5, "100.50"), (0.0, "0.00"),
        (-0.5, "-0.50"), (-80.5, "-80.50"), (1205.25, "1205.25"), (10.0, "10.00"), (0.1, "0.10"),
        (20.0, "20.00"), (1e-9, "1e-09"), (1e300, "1e+300"),
    ],
)  # fmt: skip
def test_a_reference_is_shown_as_published(suite, value, shown):
    Path("suite.toml").write_text(SUITE.replace("target = { auc = 0.7 }", f"target = {{ auc = {value} }}"))
    read, entries = read_suite("suite.toml")
    filled = fill(read, outcomes(entries))
    rows = [line for line in markdown(read, filled, "x").splitlines() if f"| paper | {shown}‡ | – |" in line]
    assert len(rows) == 1
    assert _tight(f"{shown}‡") == re.sub(r"^(-?)0\.", r"\1.", f"{shown}‡")
    row = next(
        r
        for r in csv.DictReader(io.StringIO(csv_text(read, filled)))
        if r["by"] == "paper" and r["domain"] == "target"
    )
    assert float(row["auc_mean"]) == value


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_reference_is_a_number(value):
    Path("suite.toml").write_text(SUITE.replace("target = { auc = 0.7 }", f"target = {{ auc = {value} }}"))
    with pytest.raises(ConfigError, match=r"reference\.paper\.target\.auc"):
        read_suite("suite.toml")


ODD = {
    "bars": "a | b || c", "a bar behind a backslash": r"a \| b", "lines": "first\n  second\r\nthird",
    "a formula": '=HYPERLINK("http://x")', "a plus": "+1", "a minus": "-1", "an at": "@SUM(A1)",
    "a formula behind a space": "  =1+1", "a tab": "\t=1", "a tag": "<script>x</script>",
    "an escape": "\x1b[2J", "quotes": "say \"no\", 'yes'", "an entity": "&#124;",
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_any_text_leaves_the_tables_whole(suite, odd):
    """In titles, reporters, errors and notes."""
    title, reporter = json.dumps(odd), json.dumps(odd + ".")
    text = SUITE.replace('title = "source only"', f"title = {title}").replace(
        'title = "One"', f"title = {title}"
    )
    text = text.replace('title = "Small"', f"title = {title}")
    Path("suite.toml").write_text(text.replace("reference.paper", f"reference.{reporter}"))
    read, entries = read_suite("suite.toml")
    made = outcomes(entries, notes=[odd, "another"])
    made[4] = Outcome(entries[1], 1, "failed", error=odd)
    filled = fill(read, made)
    plain_read, plain_entries = suite
    plain = markdown(plain_read, fill(plain_read, outcomes(plain_entries, notes=["a", "b"])), "x")
    page = markdown(read, filled, "datk bench\nx")
    assert len(page.splitlines()) == len(plain.splitlines())
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {7}
    assert "<" not in page
    assert "\x1b" not in page
    lines = csv_text(read, filled).splitlines()
    assert len(lines) == len(csv_text(plain_read, fill(plain_read, outcomes(plain_entries))).splitlines())
    for row in csv.reader(lines[1:]):
        assert not [cell for cell in row[:4] if re.match(r"\s*[=+\-@]", cell)]
        assert all(cell == "" or isinstance(float(cell), float) for cell in row[4:])


def test_negative_numbers_stay_numbers_in_csv(suite):
    negative = {domain: {"test": {"auc": -0.5, "accuracy": -1e-5, "n": 4}} for domain in ("source", "target")}
    filled = fill(suite[0], [Outcome(suite[1][0], 0, "ran", result(0, metrics=negative))])
    row = next(csv.DictReader(io.StringIO(csv_text(suite[0], filled))))
    assert (row["auc_mean"], row["accuracy_mean"], row["auc_std"]) == ("-0.5", "-1e-05", "")
