"""What an earlier datk stored is read, resumed and not repeated; see tests/fixtures/earlier/README.md."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from datk.base.errors import ConfigError, DatkError, RunError
from datk.base.version import __version__
from datk.runs.folder import recorded_experiment
from datk.runs.result import read_result
from datk.runs.seeds import summarize
from tests.earlier import COMPLETE, EARLIER, INTERRUPTED, copy_to, edit, epochs, read, selected


@pytest.fixture(autouse=True)
def _copied(tmp_path):
    copy_to(tmp_path)


# --- results -------------------------------------------------------------------------------------------


def test_there_are_results_of_every_kind():
    assert len(COMPLETE) == 7
    assert {read(path / "result.json")["datk"] for path in COMPLETE} == {"0.1.0"}


@pytest.mark.parametrize("folder", COMPLETE, ids=str)
def test_a_result_is_read(folder):
    written, result = read(folder / "result.json"), read_result(folder)
    assert written.items() <= result.model_dump(mode="json").items()
    assert (result.folder, result.task) == (folder, "classification")


def test_what_a_later_version_adds_to_a_result_is_kept_and_ignored(datk):
    added = {"energy": {"joules": [1.5, None]}, "notes_by": "somebody"}
    edit("runs/complete/result.json", lambda result: result.update(added))
    result = read_result("runs/complete")
    assert result.metrics == read_result(EARLIER / "runs/complete").metrics
    assert added.items() <= result.model_dump(mode="json").items()
    assert datk("run", "--resume", "--out", "runs/complete").code == 0
    assert added.items() <= read("runs/complete/result.json").items()


def test_what_an_earlier_version_did_not_write_takes_its_default():
    edit("runs/complete/result.json", lambda result: result.pop("notes"))
    assert read_result("runs/complete").notes == []


def test_a_metric_that_one_of_the_results_lacks_has_no_mean():
    edit("runs/seeds/seed-1/result.json", lambda r: r["metrics"]["target"]["test"].pop("ece"))
    edit("runs/seeds/seed-1/result.json", lambda r: r["metrics"]["source"].pop("validation"))
    summary = summarize([read_result(f"runs/seeds/seed-{seed}") for seed in (0, 1)])
    nothing = {"mean": None, "std": None}
    assert summary["target"]["test"]["ece"] == summary["source"]["validation"]["auc"] == nothing
    assert summary["target"]["test"]["brier"]["std"] > 0


# --- resuming ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", INTERRUPTED, ids=str)
def test_an_interrupted_run_goes_on_from_its_epoch(folder, datk):
    before, start = epochs(folder), read(folder / "environment.json")
    said = datk("run", "--resume", "--out", folder)
    assert (said.code, "resumed after epoch 2" in said.err) == (0, True)
    result, curve = read_result(folder), epochs(folder)
    assert [record["epoch"] for record in curve] == [1, 2, 3, 4, 5]
    assert (curve[:2], result.epochs) == (before, 5)
    losses = [record["validation_loss"] for record in curve]
    best = 5 if folder.name.endswith("last") else 1 + losses.index(min(losses))
    assert result.selected_epoch == best
    starts = read(folder / "environment.json")
    assert (len(starts), starts[0], starts[1]["datk"]) == (2, start, __version__)


@pytest.mark.parametrize("folder", COMPLETE, ids=str)
def test_the_last_checkpoint_gives_the_same_selection_and_the_same_numbers(folder, datk):
    earlier = read_result(folder)
    (folder / "result.json").unlink()
    assert datk("run", "--resume", "--config", folder / "config.json", "--out", folder).code == 0
    result = read_result(folder)
    assert result.weights_sha256 == earlier.weights_sha256
    assert result.selected_epoch == earlier.selected_epoch
    for domain, parts in earlier.metrics.items():
        for part, metrics in parts.items():
            assert result.metrics[domain][part] == pytest.approx(metrics, abs=1e-5)


def test_the_score_of_the_best_epoch_is_compared_with_those_of_later_ones(datk):
    path = Path("runs/interrupted/checkpoints/last.pt")
    state = torch.load(path, weights_only=True)
    best = state["selection"]["best"]
    assert best == -epochs(path.parents[1])[1]["validation_loss"]
    state["selection"]["best"] = best / 2  # better than any that is to come
    torch.save(state, path)
    assert datk("run", "--resume", "--out", "runs/interrupted").code == 0
    assert read_result("runs/interrupted").selected_epoch == 2


def test_a_complete_run_is_told_to_be_complete(datk):
    written = Path("runs/complete/result.json").read_bytes()
    said = datk("run", "--resume", "--out", "runs/complete")
    assert (said.code, "runs/complete is complete already" in said.err) == (0, True)
    assert Path("runs/complete/result.json").read_bytes() == written


def test_a_seed_is_added_to_those_that_are_done(datk):
    said = datk("run", "--resume", "--out", "runs/seeds", "--seed", "0-2")
    assert [f"runs/seeds/seed-{seed} is complete already" in said.err for seed in (0, 1, 2)] == [1, 1, 0]
    summary = read("runs/seeds/summary.json")
    results = [read_result(f"runs/seeds/seed-{seed}") for seed in (0, 1, 2)]
    assert (said.code, summary["seeds"], summary["metrics"]) == (0, [0, 1, 2], summarize(results))


def test_an_option_that_is_new_takes_its_default(datk):
    def forget(config):
        del config["data"], config["split"], config["init_normalization"]
        del config["train"]["save_every"], config["train"]["zoom"], config["align"]["dann"]["coefficient"]

    edit("runs/interrupted/config.json", forget)
    whole = recorded_experiment(EARLIER / "runs/interrupted").config
    assert recorded_experiment(Path("runs/interrupted")).config == whole
    assert datk("run", "--resume", "--out", "runs/interrupted").code == 0
    assert read_result("runs/interrupted").epochs == 5


def test_what_a_later_version_adds_to_other_files_does_no_harm(datk):
    edit("runs/interrupted/environment.json", lambda start: start.update(energy={"joules": 1}))
    added = '{"kind": "note", "text": "hello"}\n{"kind": "step", "epoch": 1, "watts": [1]}\n'
    metrics = Path("runs/interrupted/metrics.jsonl")
    metrics.write_text(added + metrics.read_text())
    checkpoint = Path("runs/interrupted/checkpoints/last.pt")
    state = torch.load(checkpoint, weights_only=True)
    state["selection"]["margin"] = 0.5
    torch.save(state | {"watts": torch.ones(3)}, checkpoint)
    assert datk("run", "--resume", "--out", "runs/interrupted").code == 0
    assert read("runs/interrupted/environment.json")[0]["energy"] == {"joules": 1}
    assert metrics.read_text().startswith(added)
    assert [record["epoch"] for record in epochs(metrics.parent)] == [1, 2, 3, 4, 5]


def test_a_run_goes_on_by_its_own_options_with_the_splits_it_had(datk):
    own = ["--config", "data.toml", "--align", "dann", "--reg", "fisher", "--epochs", "5"]
    own += ["--set", "align.dann.hidden=[4]", "--out", "runs/interrupted", "--resume"]
    with np.load("runs/interrupted/splits.npz", allow_pickle=False) as file:
        before = dict(file)
    said = datk("run", *own)
    assert said.code == 0, said.err
    result = read_result("runs/interrupted")
    assert result.split == "random"
    kept = [note for note in result.notes if note.endswith(", as in the version that began this run")]
    assert {note.partition(",")[0] for note in kept} >= {
        "align.datk:dann.ramp=constant",
        "data.split_seed=run",
        "data.standardize=per-domain",
        "data.target_rows=split",
        "split=grouped",
    }
    with np.load("runs/interrupted/splits.npz", allow_pickle=False) as after:
        assert all(np.array_equal(after[part], before[part]) for part in before)


def test_no_split_seed_means_the_seed_of_the_run():
    data = recorded_experiment(Path("runs/complete")).config.data
    assert (read("runs/complete/config.json")["data"]["split_seed"], data.split_seed) == (None, "run")
    edit("runs/complete/config.json", lambda config: config.pop("data"))
    assert recorded_experiment(Path("runs/complete")).config.data == data


def test_a_start_that_says_nothing_of_its_data_may_go_on(datk):
    edit("runs/interrupted/environment.json", lambda start: start.pop("data_sha256"))
    assert datk("run", "--resume", "--out", "runs/interrupted").code == 0
    edit("runs/interrupted-last/environment.json", lambda start: start.update(data_sha256="0"))
    assert "the data have changed" in datk("run", "--resume", "--out", "runs/interrupted-last").err


def test_a_run_whose_rows_would_be_dealt_otherwise_is_not_resumed(datk):
    path = Path("runs/interrupted/splits.npz")
    with np.load(path, allow_pickle=False) as splits:
        parts = dict(splits)
    parts["target_test"], parts["target_validation"] = parts["target_validation"], parts["target_test"]
    np.savez(path, **parts)
    said = datk("run", "--resume", "--out", "runs/interrupted")
    assert (said.code, "deals the rows to training" in said.err, "datk 0.1.0 wrote" in said.err) == (2, 1, 1)
    path.write_bytes(b"cut short")  # nothing to compare with
    assert datk("run", "--resume", "--out", "runs/interrupted").code == 0


# --- options that are gone, and options that are not there yet -----------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "advice"),
    [
        ("together", True, "together is no longer an option; datk bench --jobs N"),
        ("graphs", True, "graphs is no longer an option; train.compile=reduce-overhead"),
    ],
)
def test_an_option_that_is_gone_names_what_stands_in(option, value, advice, datk):
    edit("runs/interrupted/config.json", lambda config: config["train"].update({option: value}))
    said = datk("run", "--resume", "--out", "runs/interrupted")
    assert (said.code, advice in said.err) == (2, True)
    said = datk("run", "--resume", "--config", "data.toml", "--align", "dann", "--out", "runs/interrupted")
    assert (said.code, advice in said.err) == (2, True)


def test_options_that_are_gone_and_did_nothing_are_dropped():
    written = read("runs/complete/config.json")["train"]
    assert (written["together"], written["graphs"], written["compile"]) == (False, False, False)
    train = recorded_experiment(Path("runs/complete")).config.train
    assert train.compile == "none"
    assert not {"together", "graphs"} & set(train.model_dump())
    edit("runs/complete/config.json", lambda config: config["train"].update(compile=True))
    assert recorded_experiment(Path("runs/complete")).config.train.compile == "default"


@pytest.mark.parametrize("keys", [("train",), ("align", "dann"), ("data",), ("backbone",), ()])
def test_an_option_of_a_later_version_is_named_and_the_version_too(keys, datk):
    def of_later(config):
        section = config
        for key in keys:
            section = section[key]
        section["future"] = 1

    edit("runs/interrupted/config.json", of_later)
    edit("runs/interrupted/environment.json", lambda start: start.update(datk="9.5.1"))
    own = ["--config", "data.toml", "--align", "dann", "--reg", "fisher", "--epochs", "5"]
    for arguments in ([], [*own, "--set", "align.dann.hidden=[4]"]):
        said = datk("run", "--resume", "--out", "runs/interrupted", *arguments)
        assert said.code == 2
        assert f"unknown option '{'.'.join([*keys, 'future'])}'" in said.err
        wrote = f"another version of datk or of a plugin (by datk 9.5.1, this is datk {__version__})"
        assert wrote in said.err


def test_a_mistake_in_an_option_of_today_is_not_blamed_on_the_folder(datk):
    said = datk("run", "--resume", "--out", "runs/interrupted", "--set", "train.futur=1")
    assert (said.code, "unknown option 'train.futur'" in said.err, "another version" in said.err) == (2, 1, 0)


# --- starting from an old run, and looking at it -------------------------------------------------------


@pytest.mark.parametrize("normalization", ["fresh", "inherited"])
def test_a_run_starts_from_an_old_one(normalization, datk):
    settings = [
        "--align",
        "mmd",
        "--reg",
        "fisher",
        "--set",
        "train.lr=1e-12",
        "--epochs",
        "1",
        "--seed",
        "3",
    ]
    settings += ["--set", f"init_normalization={normalization}"]
    said = datk("run", "--config", "data.toml", *settings, "--init", "runs/complete", "--out", "runs/new")
    assert said.code == 0
    old, new = selected("runs/complete"), selected("runs/new")
    weights = [name for name in new if name.startswith("objective.")]
    assert any("fisher" in name for name in weights)
    assert all(torch.allclose(new[name], old[name], atol=1e-6) for name in weights)
    constants = [name for name in new if name.startswith("standardizers.")]
    same = all(torch.equal(new[name], old[name]) for name in constants)
    assert (len(constants), same) == (4, normalization == "inherited")


def test_an_old_configuration_is_shown_and_can_be_run_again(datk):
    said = datk("config", "show", "--config", "runs/interrupted/config.json")
    shown = tomllib.loads(said.out)
    assert (said.code, shown["train"]["lr"], shown["align"]["datk:dann"]["hidden"]) == (0, 0.02, [4])
    Path("shown.toml").write_text(said.out)
    settings = ["--config", "shown.toml", "--epochs", "1", "--out", "runs/again"]
    assert datk("run", *settings).code == 0
    again, earlier = (read(f"runs/{name}/config.json") for name in ("again", "interrupted"))
    assert again["align"]["datk:dann"] == earlier["align"]["dann"]


# --- folders that nothing can be made of ---------------------------------------------------------------


def test_a_folder_that_cannot_be_read_is_named():
    for content in ("{", "[]", "{}"):
        Path("runs/interrupted/config.json").write_text(content)
        if content == "{}":  # every option at its default
            assert recorded_experiment(Path("runs/interrupted")).config.seed == 0
        else:
            with pytest.raises(ConfigError, match=r"runs/interrupted/config\.json"):
                recorded_experiment(Path("runs/interrupted"))
    edit("runs/complete/result.json", lambda result: result.pop("metrics"))
    with pytest.raises(RunError, match=r"result\.json is not the result of a run of datk"):
        read_result("runs/complete")
    assert issubclass(ConfigError, DatkError)
