"""`--align auto`: a run of runs that vote."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

import datk
from datk.base.errors import ConfigError, RunError
from datk.runs import outputs, vote
from datk.runs.candidates import candidates_in, is_vote
from datk.runs.recognize import is_run
from datk.runs.result import read_result
from datk.runs.vote import soft_vote
from datk.training.checkpoints import Checkpoints
from datk.training.trace import NotFiniteError
from tests import build
from tests.toys import TOYS

FEW = {"auto": {"candidates": ["source-only", "per-domain", "mmd"]}}
ALL = ["source-only", "per-domain", "mmd", "coral", "dann"]


def run(out, align=FEW, **options):
    return build.run(out, align, pair={"shape": [5], **options.pop("pair", {})}, **options)


def forced(out, align):
    """Another run, which replaces the one that is there."""
    return datk.run(
        pair={"name": TOYS + "Toy", "shape": [5]}, backbone="mlp", align=align, epochs=1, device="cpu",
        out=out, force=True, set={"train.batch_size": 16},
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("done") / "run"
    run(folder, "auto")
    return folder


@pytest.fixture
def copy(done, tmp_path):
    """A run of all candidates that a test may damage."""
    return Path(shutil.copytree(done, tmp_path / "copy"))


def names(result, votes=True):
    return [each.name for each in result.vote.candidates if each.votes == votes]


def kept(folder):
    """What a run found, without times."""
    found = json.loads((folder / "result.json").read_text())
    return {key: value for key, value in found.items() if not key.startswith("seconds")}


# --- a run ---------------------------------------------------------------------------------------------


def test_a_run_of_runs(done):
    result = read_result(done)
    assert [each.name for each in result.vote.candidates] == ALL
    assert (result.align, result.selected_epoch, result.epochs) == ("auto", 0, 2)
    assert (result.vote.veto, result.notes[0]) == (0.9, result.vote.reason)
    files = {"config.json", "environment.json", "log.txt", "outputs.npz", "result.json", "splits.npz"}
    assert {path.name for path in done.iterdir()} == files | {"candidates"}
    assert [*candidates_in(done)] == sorted(ALL)
    runs = {name: read_result(folder) for name, folder in candidates_in(done).items()}
    assert {name: (run.align, run.standardize) for name, run in runs.items()} == {
        "source-only": ("none", "source"),
        "per-domain": ("none", "per-domain"),
        "mmd": ("mmd", "source"),
        "coral": ("coral", "source"),
        "dann": ("dann", "source"),
    }
    assert len({run.weights_sha256 for run in runs.values()}) == 5
    assert len({(folder / "splits.npz").read_bytes() for folder in candidates_in(done).values()}) == 1
    assert (done / "splits.npz").read_bytes() == (done / "candidates/mmd/splits.npz").read_bytes()
    log = (done / "log.txt").read_text()
    assert "auto trains 5 candidates (source-only, per-domain, mmd, coral, dann), about 5 times a run" in log
    assert result.vote.reason in log


def test_a_candidate_is_the_run_that_it_would_be_by_itself(done, tmp_path):
    alone = run(tmp_path / "alone", "mmd", label_shift="estimate")
    assert read_result(done / "candidates/mmd").weights_sha256 == alone.weights_sha256


def test_the_outputs_of_a_run_are_the_vote_of_its_candidates(done):
    result, together = read_result(done), outputs.read(done)
    voting = [outputs.read(done / "candidates" / name) for name in names(result)]
    for part, of in together.items():
        p = [np.exp(said[part].logits.astype(float)) for said in voting]
        mean = np.mean([each / each.sum(axis=1, keepdims=True) for each in p], axis=0)
        np.testing.assert_allclose(np.exp(of.logits), mean, rtol=1e-4)
        np.testing.assert_array_equal(of.rows, voting[0][part].rows)
    test = together["target", "test"]
    accuracy = (test.logits.argmax(axis=1) == test.labels).mean()
    assert result.metrics["target"]["test"]["accuracy"] == pytest.approx(accuracy)


def test_target_labels_have_no_part_in_it(tmp_path):
    found = [run(tmp_path / str(number), pair={"permute_answers": number}) for number in (None, 1)]
    found.append(run(tmp_path / "unlabelled", pair={"labelled": False}))
    assert found[0].metrics["target"] != found[1].metrics["target"]
    assert found[2].metrics["target"] == {}
    assert all(each.vote == found[0].vote for each in found)
    assert len({each.weights_sha256 for each in found}) == 1
    said = [outputs.read(each.folder)["target", "train"] for each in found]
    for other in said[1:]:
        np.testing.assert_array_equal(other.logits, said[0].logits)


def test_a_candidate_that_collapses_has_no_vote(tmp_path, monkeypatch):
    values = iter((1.2, 1.3, 0.31))  # of source-only, per-domain and mmd
    monkeypatch.setattr(vote, "information", lambda logits: next(values))
    result = run(tmp_path / "run")
    assert (names(result), names(result, votes=False)) == (["source-only", "per-domain"], ["mmd"])
    assert "mmd dropped: its predictions collapse (IM 0.31 < 0.9 x 1.20)" in result.notes[0]
    two = [
        outputs.read(tmp_path / "run/candidates" / name)["source", "test"].logits for name in names(result)
    ]
    np.testing.assert_array_equal(outputs.read(tmp_path / "run")["source", "test"].logits, soft_vote(two))


def test_a_candidate_that_fails_has_no_vote(tmp_path):
    align = {"auto": {"candidates": ["source-only", TOYS + "NanGradientOfPhase", "mmd"]}}
    result = run(tmp_path / "run", align)
    assert names(result, votes=False) == ["NanGradientOfPhase"]
    assert "NanGradientOfPhase dropped: it failed (" in result.vote.reason
    assert "not finite at step 1" in result.vote.reason


def test_without_source_only_there_is_no_vote(tmp_path):
    with pytest.raises(NotFiniteError):
        run(tmp_path / "run", reg=[TOYS + "NanAt"])
    assert not (tmp_path / "run/result.json").exists()


def test_regularizers_are_those_of_every_candidate(tmp_path):
    result = run(tmp_path / "run", reg=["fisher"])
    assert result.reg == ["fisher"]
    assert [read_result(each).reg for each in candidates_in(tmp_path / "run").values()] == [["fisher"]] * 3


def test_where_numbers_are_predicted_the_vote_is_their_mean(tmp_path):
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(2, 80, 4)).astype(np.float32)
    result = datk.run(
        pair={"name": "arrays", "source_x": x, "source_y": x[:, 0], "target_x": t, "target_y": t[:, 0]},
        align={"auto": {"candidates": "source-only,mcc,mmd"}},
        backbone="mlp", epochs=1, device="cpu", out=tmp_path / "run", set={"task": "regression"},
    )  # fmt: skip
    assert (names(result), names(result, votes=False)) == (["source-only", "mmd"], ["mcc"])
    assert result.vote.veto is None
    assert result.vote.reason == (
        "3 candidates; mcc dropped: it needs classes; "
        "numbers are predicted, so that there is no veto; mean of source-only, mmd"
    )
    part = ("target", "test")
    said = [outputs.read(tmp_path / "run/candidates" / name)[part].logits for name in names(result)]
    np.testing.assert_allclose(outputs.read(tmp_path / "run")[part].logits, np.mean(said, axis=0), rtol=1e-6)


def test_without_standardisation_there_is_no_candidate_per_domain(tmp_path):
    result = datk.run(
        pair={"name": TOYS + "Toy", "shape": [5]}, backbone="mlp", align=FEW, epochs=1, device="cpu",
        out=tmp_path / "run", set={"data.standardize": "none", "train.batch_size": 16},
    )  # fmt: skip
    assert names(result, votes=False) == ["per-domain"]
    assert "per-domain dropped: it is the same as source-only here" in result.vote.reason
    assert read_result(tmp_path / "run/candidates/source-only").standardize == "none"


# --- options -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "telling"),
    [
        ({"align": ["auto", "mmd"]}, "alignment 'auto' stands alone in a run; leave out mmd"),
        ({"align": {"auto": {"candidates": ["mmd"]}}}, "source-only must be among them"),
        ({"align": {"auto": {"candidates": "source-only,mdm"}}}, "no candidate 'mdm'; did you mean 'mmd'?"),
        ({"align": {"auto": {"candidates": ["source-only", "auto"]}}}, "'auto' is no candidate"),
        ({"align": {"auto": {"candidates": ["source-only", "mmd", "datk:mmd"]}}}, "'mmd' is named twice"),
        ({"align": {"auto": {"weight": 2}}}, "weight and ramp are options of its candidates"),
        ({"align": {"auto": {"candidates": ["source-only", "shot"]}}}, "shot starts from the weights of"),
    ],
)
def test_what_cannot_be_a_vote_is_told_before_anything_is_trained(options, telling, tmp_path):
    with pytest.raises(ConfigError, match=telling):
        run(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_nothing_starts_from_a_vote_but_from_a_candidate(done, tmp_path):
    with pytest.raises(RunError) as error:
        run(tmp_path / "run", "none", init=done)
    assert "a vote of several networks" in str(error.value)
    assert "(coral, dann, mmd, per-domain, source-only)" in str(error.value)
    candidate = done / "candidates/source-only"
    assert f"for instance {candidate}" in str(error.value)
    assert run(tmp_path / "run", "none", init=candidate).align == "none"


# --- going on, replacing -------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [("source-only", 1), ("per-domain", 2), ("mmd", 1)])
def test_an_interrupted_run_goes_on_where_it_was(at, tmp_path):
    whole = run(tmp_path / "whole")

    def stopped(self, state, original=Checkpoints.save_last):
        original(self, state)
        if (self.folder.name, state["epoch"]) == at:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save_last", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "run", save_every=0)
    assert is_vote(tmp_path / "run")
    resumed = run(tmp_path / "run", save_every=0, resume=True)
    assert resumed.weights_sha256 == whole.weights_sha256
    assert (resumed.metrics, resumed.vote) == (whole.metrics, whole.vote)


@pytest.mark.parametrize(
    "kill",
    [
        ["after result.json", 1],  # of source-only
        ["before config.json", 3],  # of per-domain, after those of the run and of source-only
        ["half splits.npz", 4],  # of mmd
        ["half outputs.npz", 4],  # of the vote
        ["before result.json", 4],
    ],
    ids=lambda kill: f"{kill[0]} {kill[1]}",
)
def test_a_run_that_is_killed_comes_to_the_same(kill, tmp_path, doomed):
    arguments = {
        "pair": {"name": TOYS + "Toy", "shape": [5]}, "backbone": "mlp", "align": FEW, "epochs": 1,
        "device": "cpu", "out": str(tmp_path / "run"), "set": {"train.batch_size": 16},
    }  # fmt: skip
    assert doomed({"run": arguments, "kill": kill}) == signal.SIGKILL
    whole = datk.run(**{**arguments, "out": tmp_path / "whole"})
    for _ in range(2):  # the second time it is complete
        resumed = datk.run(**arguments, resume=True)
        assert (resumed.metrics, resumed.vote) == (whole.metrics, whole.vote)
        assert resumed.weights_sha256 == whole.weights_sha256


@pytest.mark.parametrize("killed", ["config.json", "dann"])
def test_a_replacement_that_is_killed_can_be_repeated(killed, copy):
    """While files of candidates are removed: before the last file of one, and before its empty folder."""
    unlink, rmdir = Path.unlink, Path.rmdir

    def dying(original):
        def method(self, *arguments, **options):
            if self.name == killed and "candidates" in self.parts:
                raise KeyboardInterrupt
            return original(self, *arguments, **options)

        return method

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "unlink", dying(unlink))
        patch.setattr(Path, "rmdir", dying(rmdir))
        with pytest.raises(KeyboardInterrupt):
            forced(copy, "auto")
    assert is_vote(copy)
    result = forced(copy, "auto")
    assert (result.epochs, [*candidates_in(copy)]) == (1, sorted(ALL))


def test_what_is_complete_is_left_alone(copy):
    before = build.files(copy)
    again = run(copy, "auto", resume=True)
    assert build.files(copy) == before
    assert again.vote == read_result(copy).vote


def test_missing_candidates_are_trained_again(copy):
    before = kept(copy)
    (copy / "result.json").unlink()
    shutil.rmtree(copy / "candidates/dann")
    (copy / "candidates/mmd/result.json").unlink()
    run(copy, "auto", resume=True)
    assert kept(copy) == before


def test_corrected_labels_are_scored_by(copy, tmp_path):
    again = run(copy, "auto", resume=True, pair={"permute_answers": 3})
    other = run(tmp_path / "other", "auto", pair={"permute_answers": 3})
    assert again.metrics == other.metrics
    assert again.vote == other.vote


def test_other_options_are_another_run(copy):
    before = build.files(copy)
    with pytest.raises(RunError, match=r"cannot resume .*candidates"):
        run(copy, resume=True)
    with pytest.raises(RunError, match="holds a run already"):
        run(copy, "auto")
    assert build.files(copy) == before


def test_a_vote_is_not_trained_for_longer(tmp_path):
    options = {"align": FEW, "epochs": 1, "schedule": "constant"}
    run(tmp_path / "run", **options)
    before = build.files(tmp_path / "run")
    with pytest.raises(RunError, match="is a vote, which cannot be trained for more epochs"):
        run(tmp_path / "run", **{**options, "epochs": 2}, resume=True)
    assert build.files(tmp_path / "run") == before


@pytest.mark.parametrize("align", ["mmd", FEW], ids=["mmd", "auto"])
def test_force_replaces_the_candidates(copy, align):
    (copy / "mine.txt").write_text("mine")
    (copy / "candidates/dann/mine.txt").write_text("mine")
    replaced = forced(copy, align)
    assert (copy / "mine.txt").read_text() == (copy / "candidates/dann/mine.txt").read_text() == "mine"
    there = ["mmd", "per-domain", "source-only"] if align == FEW else []
    assert [path.parent.name for path in sorted(copy.glob("candidates/*/config.json"))] == there
    assert replaced.epochs == 1
    assert all(read_result(folder).epochs == 1 for folder in candidates_in(copy).values())
    assert (copy / "checkpoints").exists() == (align == "mmd")


def test_runs_of_the_users_own_in_a_folder_of_that_name_stay(tmp_path):
    run(tmp_path / "run", "none")
    run(tmp_path / "run/candidates/mmd", "mmd")
    before = build.files(tmp_path / "run/candidates")
    with pytest.raises(RunError, match="candidates is in the way and no part of the run"):
        forced(tmp_path / "run", "auto")
    forced(tmp_path / "run", "coral")
    assert build.files(tmp_path / "run/candidates") == before


def test_links_are_not_followed(copy, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    shutil.move(copy / "candidates/mmd", elsewhere)
    (copy / "candidates/mmd").symlink_to(elsewhere)
    before = build.files(elsewhere)
    with pytest.raises(RunError, match="is a link"):
        forced(copy, "none")
    assert build.files(elsewhere) == before


# --- where runs are read -------------------------------------------------------------------------------


def test_several_seeds(tmp_path):
    summary = datk.run(
        pair={"name": TOYS + "Toy", "shape": [5]}, backbone="mlp", align=FEW, epochs=1, device="cpu",
        out=tmp_path / "runs", seed=[0, 1], set={"train.batch_size": 16},
    )  # fmt: skip
    assert [result.align for result in summary.results] == ["auto", "auto"]
    assert all(is_run(tmp_path / f"runs/seed-{seed}/candidates/mmd") for seed in (0, 1))
    values = [result.metrics["target"]["test"]["accuracy"] for result in summary.results]
    assert summary.metrics["target"]["test"]["accuracy"]["mean"] == pytest.approx(np.mean(values))


def test_from_the_command_line(datk, tiny_pair):
    outcome = datk("run", *tiny_pair, "--align", "auto", "--out", "run")
    assert outcome.code == 0, outcome.err
    assert "auto trains 5 candidates" in outcome.err
    assert outcome.err.index("auto trains") < outcome.err.index("candidate 1 of 5")
    shown = " ".join(outcome.out.split())
    assert "soft vote of source-only" in shown
    assert "epoch 0" not in shown
    assert "auto" in datk("plugins").out


def test_hooks_are_told_of_the_candidates_and_of_the_vote(tmp_path):
    (tmp_path / "hook.py").write_text(
        "from datk.interfaces import hookimpl\n"
        "from pathlib import Path\n"
        "@hookimpl\n"
        "def run_finished(folder, result):\n"
        "    with (Path(__file__).parent / 'told.txt').open('a') as file:\n"
        "        file.write(f\"{folder.name} {result['align']}\\n\")\n"
    )
    result = datk.run(
        pair={"name": TOYS + "Toy", "shape": [5]}, backbone="mlp", align=FEW, epochs=1, device="cpu",
        out=tmp_path / "run", config={"hooks": [str(tmp_path / "hook.py")]}, set={"train.batch_size": 16},
    )  # fmt: skip
    told = (tmp_path / "told.txt").read_text().splitlines()
    assert told == ["source-only none", "per-domain none", "mmd mmd", "run auto"]
    assert [Path(hook["file"]).name for hook in result.hooks] == ["hook.py"]
