"""Going on with a run: only if that was asked, elsewhere, with data that moved, for more epochs."""

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import datk
from datk.base.errors import ConfigError, RunError
from datk.base.files import read_json
from datk.runs import environment
from datk.runs.result import read_result
from datk.training.checkpoints import Checkpoints
from tests import build
from tests.toys import TOYS


def notes_of(result, word):
    return [note for note in result.notes if word in note]


# --- only if that was asked ----------------------------------------------------------------------------


def test_what_came_into_the_folder_in_the_meantime_is_not_taken_up(tmp_path, monkeypatch):
    """As where two machines cannot lock a folder for one another, and one of them reads its data slowly."""
    other = build.run(tmp_path / "other")
    reading, read = threading.Event(), threading.Event()
    prepare = datk.runs.run.prepare

    def slowly(*arguments):
        reading.set()
        read.wait(30)
        return prepare(*arguments)

    monkeypatch.setattr(datk.runs.run, "prepare", slowly)
    errors = []

    def slow():
        try:
            build.run(tmp_path / "run", align="mmd")
        except datk.DatkError as error:
            errors.append(str(error))

    thread = threading.Thread(target=slow)
    thread.start()
    reading.wait(30)
    shutil.copytree(tmp_path / "other", tmp_path / "run", dirs_exist_ok=True)
    read.set()
    thread.join()
    assert errors == [
        f"{tmp_path / 'run'} holds a run already; --resume goes on with it, --force replaces it"
    ]
    assert read_result(tmp_path / "run").model_dump() == other.model_dump()


def test_a_second_run_waits_for_nothing_and_harms_nothing(tmp_path, monkeypatch):
    """Neither the run that is at it, whose folder is empty yet, nor its folder."""
    prepare = datk.runs.run.prepare
    said = []

    def while_reading(*arguments):
        monkeypatch.setattr(datk.runs.run, "prepare", prepare)
        for options in ({}, {"resume": True}):
            with pytest.raises(RunError) as error:
                build.run(tmp_path / "run", align="mmd", **options)
            said.append(str(error.value))
        return prepare(*arguments)

    monkeypatch.setattr(datk.runs.run, "prepare", while_reading)
    result = build.run(tmp_path / "run")
    busy = f"another process writes into {tmp_path / 'run'}; wait until it is done, or choose another --out"
    assert (said, result.align) == ([busy, busy], "none")


def test_a_checkpoint_is_taken_up_only_if_that_was_asked(tmp_path):
    first = build.trainer(tmp_path / "run", epochs=2)
    first.fit()
    for resume, epoch in ((False, 0), (True, 2)):
        again = build.trainer(tmp_path / f"again-{resume}", epochs=2)
        shutil.copytree(tmp_path / "run", tmp_path / f"again-{resume}", dirs_exist_ok=True)
        again.resume = resume
        started = []
        again.train_epoch = lambda again=again, started=started: (
            started.append(0),
            setattr(again, "epoch", 2),
        )
        again.fit()
        assert 2 - len(started) * 2 == epoch


@pytest.mark.parametrize("replaced", [True, False])
def test_a_folder_that_is_taken_away_from_a_run_is_left_alone(tmp_path, replaced):
    """Somebody removed it and started another run there, which a lock on the old folder does not hinder."""
    others = []

    def taken(self, record, original=Checkpoints.append_metrics):
        if not others:
            others.append(None)
            shutil.rmtree(tmp_path / "run")
            if replaced:
                others.append(build.run(tmp_path / "run", align="mmd"))
                others.append(build.files(tmp_path / "run"))
        original(self, record)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "append_metrics", taken)
        with pytest.raises(
            RunError, match=r"run was removed, or taken by another run, while this run went on"
        ):
            build.run(tmp_path / "run")
    if replaced:
        assert build.files(tmp_path / "run") == others[2]
        assert read_result(tmp_path / "run").model_dump() == others[1].model_dump()


def test_first_weights_are_those_that_were_read_and_stay_the_same(tmp_path, monkeypatch):
    first, second = build.run(tmp_path / "first"), build.run(tmp_path / "second", lr=0.1)
    prepare = datk.runs.run.prepare

    def replaced(*arguments):
        """Between reading the weights and writing down which they were."""
        shutil.copytree(tmp_path / "second", tmp_path / "first", dirs_exist_ok=True)
        return prepare(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(datk.runs.run, "prepare", replaced)
        build.run(tmp_path / "run", init=tmp_path / "first")
    (start,) = read_json(tmp_path / "run" / "environment.json")
    assert start["init_sha256"] == first.weights_sha256 != second.weights_sha256
    (tmp_path / "run" / "result.json").unlink()
    with pytest.raises(
        RunError, match=r"cannot resume .*: the weights that it started from have changed since"
    ):
        build.run(tmp_path / "run", init=tmp_path / "first", resume=True)


def test_to_resume_and_to_replace_is_a_contradiction(tmp_path):
    done = build.run(tmp_path / "run")
    for seed in (0, [0, 1]):
        with pytest.raises(ConfigError, match="choose one"):
            datk.run(out=tmp_path / "run", resume=True, force=True, seed=seed)
    with pytest.raises(ConfigError, match="choose one"):
        datk.runs.run.execute(build.experiment(), tmp_path / "run", resume=True, force=True)
    with pytest.raises(ConfigError, match="resume needs out"):
        datk.run(resume=True)
    assert read_result(tmp_path / "run") == done


# --- what changed between two starts -------------------------------------------------------------------


def test_what_changed_between_two_starts_is_noted(tmp_path, monkeypatch):
    whole = build.run(tmp_path / "whole", save_every=0)
    made = environment.environment

    def another(device):
        start = made(device)
        return start | {"datk": "0.0.1", "threads": 64, "packages": start["packages"] | {"torch": "1.0"}}

    with monkeypatch.context() as patch:
        patch.setattr("datk.runs.folder.environment", another)
        with pytest.raises(KeyboardInterrupt):
            build.interrupted(tmp_path / "run", 1)
    result = build.run(tmp_path / "run", save_every=0, resume=True)
    starts = read_json(tmp_path / "run" / "environment.json")
    assert [start["datk"] for start in starts] == ["0.0.1", datk.__version__]
    threads, version = torch.get_num_threads(), made(torch.device("cpu"))["packages"]["torch"]
    assert notes_of(result, "was started with") == [
        f"the run was started with datk 0.0.1 and went on with {datk.__version__}",
        f"the run was started with threads 64 and went on with {threads}",
        f"the run was started with torch 1.0 and went on with {version}",
    ]
    assert result.weights_sha256 == whole.weights_sha256
    assert notes_of(whole, "was started with") == []


def test_changes_of_the_environment():
    starts = [
        {"device": "cpu", "packages": {"torch": "2"}},
        {"device": "cpu"},
        {"device": "cuda", "cuda": None},
    ]
    assert environment.changes(starts) == ["the run was started with device cpu and went on with cuda"]
    back = [{"device": "cpu"}, {"device": "cuda"}, {"device": "cpu"}]
    assert environment.changes(back) == [
        "the run was started with device cpu and went on with cuda, then cpu"
    ]
    assert environment.changes([]) == environment.changes([{"packages": None}, {"new": 1}]) == []


# --- data that moved -----------------------------------------------------------------------------------


@pytest.fixture
def moved(tiny_pair, datk):
    """A run whose data were moved to new.npz after its first epoch."""
    with pytest.MonkeyPatch.context() as patch:

        def stopped(self, state, original=Checkpoints.save_last):
            original(self, state)
            raise KeyboardInterrupt

        patch.setattr(Checkpoints, "save_last", stopped)
        assert (
            datk("run", *tiny_pair, "--epochs", "2", "--set", "train.save_every=0", "--out", "run").code
            == 130
        )
    Path("tiny.npz").rename("new.npz")
    return ["--set", "pair.source=new.npz", "--set", "pair.target=new.npz"]


def test_a_run_goes_on_with_data_that_moved(moved, datk):
    assert "there is no file" in datk("run", "--resume", "--out", "run").err
    for arguments in ([], ["--config", "run/config.json"]):
        copy = Path(f"copy-{len(arguments)}")
        shutil.copytree("run", copy)
        outcome = datk("run", *arguments, *moved, "--resume", "--out", copy)
        assert outcome.code == 0, outcome.err
        result = read_result(copy)
        (note, _) = notes_of(result, "the data are the same")
        assert note.endswith("tiny.npz' and is now 'new.npz': the data are the same")
        assert json.loads((copy / "config.json").read_text())["pair"]["source"] == "new.npz"
        assert datk("run", "--resume", "--out", copy).code == 0  # from now on it knows where they are


def test_a_complete_run_is_scored_again_where_its_data_moved(moved, datk):
    assert datk("run", *moved, "--resume", "--out", "run").code == 0
    done = read_result("run")
    Path("new.npz").rename("newer.npz")
    newer = [option.replace("new.npz", "newer.npz") for option in moved]
    assert datk("run", *newer, "--resume", "--out", "run").code == 0
    again = read_result("run")
    assert (again.weights_sha256, again.metrics) == (done.weights_sha256, done.metrics)
    assert json.loads(Path("run/config.json").read_text())["pair"]["target"] == "newer.npz"


@pytest.mark.parametrize("complete", [False, True])
def test_other_options_of_the_pair_with_other_data_are_refused(moved, datk, complete):
    if complete:
        assert datk("run", *moved, "--resume", "--out", "run").code == 0
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    with np.load("new.npz") as arrays:
        np.savez("other.npz", **{key: array + (key == "source_x") for key, array in arrays.items()})
    for changed in (
        [option.replace("new.npz", "other.npz") for option in moved],
        [*moved, "--set", "pair.crop=8"],
        [*moved, "--set", "pair.source_x=target_x"],
    ):
        outcome = datk("run", *changed, "--resume", "--out", "run")
        assert outcome.code == 2
        assert "the data have changed since it was started (pair." in outcome.err
    after = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    assert after == before


def test_other_options_than_the_pairs_are_refused(moved, datk):
    outcome = datk("run", *moved, "--set", "data.fractions=[0.5,0.3,0.2]", "--resume", "--out", "run")
    assert (outcome.code, "cannot resume run: data.fractions was" in outcome.err) == (2, True)


def test_the_file_of_a_pair_may_move_too(tmp_path):
    source = Path(TOYS.removesuffix(":")).read_text()
    (tmp_path / "old.py").write_text(source)
    first = build.run(tmp_path / "run", pair={"name": f"{tmp_path / 'old.py'}:Toy"})
    (tmp_path / "run" / "result.json").unlink()
    (tmp_path / "old.py").rename(tmp_path / "new.py")
    pair = {"name": f"{tmp_path / 'new.py'}:Toy"}
    assert build.run(tmp_path / "run", pair=pair, resume=True).weights_sha256 == first.weights_sha256
    with pytest.raises(RunError, match=r"cannot resume .*align.datk:none was"):
        build.run(tmp_path / "run", pair={"name": f"{tmp_path / 'new.py'}:Toy", "shift": 1.0}, resume=True,
                  align="mmd")  # fmt: skip


def test_a_run_that_never_recorded_its_data_goes_by_the_options(moved, datk):
    starts = read_json(Path("run/environment.json"))
    del starts[0]["data_sha256"]
    Path("run/environment.json").write_text(json.dumps(starts))
    outcome = datk("run", *moved, "--resume", "--out", "run")
    assert (outcome.code, "cannot resume run: pair.source was" in outcome.err) == (2, True)
