"""Running suites: what is run, what is left alone, what survives."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from datk.base.errors import BusyError
from datk.base.files import only_one
from datk.bench.suite import read_suite
from datk.bench.sweep import run_suite
from datk.training.checkpoints import Checkpoints
from tests.toys import TOYS

SUITE = f"""
title = "Toys"
seeds = [0, 1]
[config]
pair = {{ name = "{TOYS}Toy" }}
backbone = "mlp"
device = "cpu"
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


def cell(name, align="none", **more):
    extra = "".join(f"{key} = {value}\n" for key, value in more.items())
    return f'[[cell]]\nname = "{name}"\n{extra}config.align = "{align}"\n'


def ran(text=SUITE, seeds=(0, 1), out="out", **options):
    Path("suite.toml").write_text(text)
    return run_suite(read_suite("suite.toml")[1], seeds, Path(out), **options)


def test_every_cell_is_run_with_every_seed():
    told = []
    outcomes = ran(SUITE + cell("mmd", "mmd"), tell=told.append)
    assert [(o.entry.key, o.seed, o.status) for o in outcomes] == [
        ("toys/none", 0, "ran"), ("toys/none", 1, "ran"), ("toys/mmd", 0, "ran"), ("toys/mmd", 1, "ran"),
    ]  # fmt: skip
    assert told == outcomes
    assert all(o.result.folder.parent == Path("out") / o.entry.key for o in outcomes)
    assert [o.result.seed for o in outcomes] == [0, 1, 0, 1]


def test_what_is_done_is_left_alone_and_what_changed_is_run():
    first = ran()
    again = ran(seeds=(0, 1, 2))
    assert [o.status for o in again] == ["was done", "was done", "ran"]
    assert [o.result for o in again[:2]] == [o.result for o in first]
    assert {o.status for o in ran(epochs=2)} == {"ran"}
    assert {o.status for o in ran(overrides=["train.lr=0.5"])} == {"ran"}
    assert {o.status for o in ran(SUITE.replace("batch_size = 16", "batch_size = 20"))} == {"ran"}
    assert {o.status for o in ran()} == {"was done"}


def test_other_data_are_another_run(tmp_path, tiny_arrays):
    keys = "".join(f'{key} = "{key}"\n' for key in tiny_arrays)
    pair = f'[config.pair]\nname = "arrays"\nsource = "a.npz"\ntarget = "a.npz"\n{keys}[config.train]'
    text = SUITE.replace(f'pair = {{ name = "{TOYS}Toy" }}\n', "").replace("[config.train]", pair)
    np.savez("a.npz", **tiny_arrays)
    assert [o.status for o in ran(text)] == ["ran", "ran"]
    assert [o.status for o in ran(text)] == ["was done", "was done"]
    np.savez("a.npz", **tiny_arrays | {"source_x": tiny_arrays["source_x"] + np.uint8(1)})
    assert [o.status for o in ran(text)] == ["ran", "ran"]


def test_an_interrupted_suite_goes_on(monkeypatch):
    options = {"epochs": 3, "overrides": ["train.save_every=0"]}
    whole = [o.result.weights_sha256 for o in ran(**options, out="whole")]
    saves = []

    def save_last(self, state):
        original(self, state)
        saves.append(state["epoch"])
        if len(saves) == 5:  # the second run's second epoch
            raise KeyboardInterrupt

    original = Checkpoints.save_last
    monkeypatch.setattr(Checkpoints, "save_last", save_last)
    with pytest.raises(KeyboardInterrupt):
        ran(**options)
    outcomes = ran(**options)
    assert [o.status for o in outcomes] == ["was done", "ran"]
    assert [o.result.weights_sha256 for o in outcomes] == whole
    assert saves == [1, 2, 3, 1, 2, 3]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failing_cell_does_not_stop_the_others(jobs):
    bad = f'[[cell]]\nname = "bad"\nconfig = {{ align = "none", reg = "{TOYS}NanAt" }}\n'
    outcomes = ran(SUITE.replace("[[cell]]", bad + "[[cell]]", 1), seeds=(0,), jobs=jobs)
    assert [o.status for o in outcomes] == ["failed", "ran"]
    assert "loss term 'NanAt' became nan at step 1" in outcomes[0].error


def test_a_fault_in_a_plugin_is_the_error_of_its_cell():
    Path("broken.py").write_text(
        "from datk.interfaces import Regularizer\n"
        "class Broken(Regularizer):\n    def forward(self, source, target, step):\n        return 1 / 0\n"
    )
    bad = '[[cell]]\nname = "bad"\nconfig = { align = "none", reg = "./broken.py:Broken" }\n'
    (outcome, other) = ran(SUITE.replace("[[cell]]", bad + "[[cell]]", 1), seeds=(0,))
    telling = "regularizer 'Broken' failed in forward: ZeroDivisionError: division by zero"
    assert (outcome.status, outcome.error) == ("failed", telling)
    assert other.status == "ran"


def test_a_process_that_dies_costs_its_own_run_only():
    Path("dying.py").write_text(
        "import os\nfrom datk.interfaces import Regularizer\n"
        "class Dying(Regularizer):\n    def forward(self, source, target, step):\n        os._exit(9)\n"
    )
    bad = '[[cell]]\nname = "bad"\nconfig = { align = "none", reg = "./dying.py:Dying" }\n'
    outcomes = ran(SUITE.replace("[[cell]]", bad + "[[cell]]", 1), seeds=(0,), jobs=2)
    assert [o.status for o in outcomes] == ["failed", "ran"]
    assert outcomes[0].error == "its process ended with 9"


def test_processes_give_what_one_process_gives():
    alone, together = (ran(out=out, jobs=jobs) for out, jobs in (("alone", 1), ("together", 2)))
    assert [o.result.weights_sha256 for o in together] == [o.result.weights_sha256 for o in alone]
    assert [o.result.folder.name for o in together] == [o.result.folder.name for o in alone]


def test_a_cell_starts_from_the_run_of_the_same_seed():
    text = SUITE + cell("next", init='"toys/none"') + cell("last", init='"toys/next"')
    outcomes = ran(text)
    for seed in (0, 1):
        first, later, last = (o.result for o in outcomes if o.seed == seed)
        config = later.folder / "config.json"
        assert f'"init": "{first.folder}"' in config.read_text()
        assert str(later.folder) in (last.folder / "config.json").read_text()
        assert len({r.weights_sha256 for r in (first, later, last)}) == 3
    assert {o.status for o in ran(text)} == {"was done"}


def test_a_cell_that_has_nothing_to_start_from_fails():
    bad = f'[[cell]]\nname = "bad"\nconfig = {{ align = "none", reg = "{TOYS}NanAt" }}\n'
    text = SUITE.replace("[[cell]]", bad + "[[cell]]", 1) + cell("next", init='"toys/bad"')
    outcomes = ran(text, seeds=(0,))
    assert [o.status for o in outcomes] == ["failed", "ran", "failed"]
    assert outcomes[2].error == "it starts from toys/bad, which has no result (failed)"


def test_data_that_were_not_fetched_are_no_failure(monkeypatch, tmp_path):
    monkeypatch.setenv("DATK_DATA_DIR", str(tmp_path / "nothing"))
    text = SUITE + '[[cell]]\nname = "real"\nrecipe = "simsim-none"\nconfig.pair = "illustris-simsim"\n'
    text += '[[cell]]\nname = "after"\ninit = "toys/real"\n'
    outcomes = ran(text, seeds=(0,))
    assert [o.status for o in outcomes] == ["ran", "data missing", "data missing"]
    assert "datk data fetch illustris-simsim" in outcomes[1].error


def test_runs_that_start_from_other_weights_are_other_runs():
    first = {o.seed: o.result.folder for o in ran(out="first")}
    starts = [[f"init={first[seed]}"] for seed in (0, 1)]
    started = [ran(seeds=(0,), overrides=start, out="started")[0] for start in starts]
    assert [o.status for o in started] == ["ran", "ran"]
    assert started[0].result.folder != started[1].result.folder
    assert ran(seeds=(0,), overrides=starts[0], out="started")[0].result == started[0].result
    (lost,) = ran(seeds=(0,), overrides=["init=nowhere"], out="started")
    assert (lost.status, "nowhere" in lost.error) == ("failed", True)


def written():
    return {path: path.stat().st_size for path in Path("out").glob("*/*/*/metrics.jsonl")}


@pytest.mark.parametrize(("name", "jobs"), [("SIGINT", 2), ("SIGTERM", 1), ("SIGHUP", 2), ("SIGKILL", 2)])
def test_however_a_bench_ends_its_runs_end_with_it(tmp_path, monkeypatch, name, jobs):
    """Nothing is written any more, the folders are free for the same command, and nothing else is left."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    Path("suite.toml").write_text(SUITE + cell("mmd", "mmd"))
    command = [sys.executable, "-m", "datk", "bench", "suite.toml", "--out", "out", "--jobs", str(jobs)]
    command += ["--epochs", "5000", "--set", "train.patience=0", "--set", "train.save_every=0"]
    bench = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while len(list(Path("out").glob("*/*/*/checkpoints/last.pt"))) < jobs and time.monotonic() < until:
        time.sleep(0.1)
    number = getattr(signal, name)
    bench.send_signal(number)
    _, said = bench.communicate(timeout=60)
    asked = name != "SIGKILL"
    assert bench.returncode == ((130 if name == "SIGINT" else 128 + number) if asked else -number)
    assert said == ("interrupted; the same command goes on\n" if asked else "")
    until = time.monotonic() + 10
    free = 0
    while free < jobs and time.monotonic() < until:
        time.sleep(0.05)
        free = sum(is_free(path.parent) for path in written())
    assert free == jobs
    before = written()
    time.sleep(0.3)
    assert written() == before
    assert list((tmp_path / "tmp").iterdir()) == []


def is_free(folder):
    try:
        with only_one(folder, BusyError()):
            return True
    except BusyError:
        return False


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_another_process_is_at_is_waited_for(jobs):
    """As one is whose bench was killed a moment ago; or that of a second bench in the same folder."""
    (whole,) = ran(seeds=(0,), epochs=2)
    (whole.result.folder / "result.json").unlink()
    let_go, held = threading.Event(), threading.Event()

    def hold():
        with only_one(whole.result.folder, BusyError()):
            held.set()
            let_go.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    notes = []

    def note(text):
        notes.append(text)
        let_go.set()

    (again,) = ran(seeds=(0,), epochs=2, jobs=jobs, note=note)
    thread.join()
    assert again.status == "ran"
    assert again.result.weights_sha256 == whole.result.weights_sha256
    assert notes == [f"another process writes into {whole.result.folder}; waiting until it is done"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_vote_is_a_cell_like_others(jobs):
    auto = '[[cell]]\nname = "auto"\nconfig.align.auto.candidates = ["source-only", "mmd"]\n'
    outcomes = ran(SUITE + auto, jobs=jobs)
    assert {o.status for o in outcomes} == {"ran"}
    for outcome in outcomes[2:]:
        assert [each.name for each in outcome.result.vote.candidates] == ["source-only", "mmd"]
        assert len([*outcome.result.folder.glob("candidates/*/result.json")]) == 2
    again = ran(SUITE + auto, jobs=jobs)
    assert {o.status for o in again} == {"was done"}
    assert [o.result for o in again] == [o.result for o in outcomes]


def test_no_cell_starts_from_a_vote():
    auto = '[[cell]]\nname = "auto"\nconfig.align.auto.candidates = ["source-only"]\n'
    outcomes = ran(SUITE + auto + cell("after", init='"toys/auto"'), seeds=[0])
    assert [o.status for o in outcomes] == ["ran", "ran", "failed"]
    assert "a vote of several networks" in outcomes[2].error
