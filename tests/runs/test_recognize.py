"""What a folder holds, before anything in it is replaced."""

import json
import shutil
from pathlib import Path

import pytest

import datk
from datk.base.errors import RunError
from datk.runs.folder import RunFolder
from datk.runs.recognize import is_run, seeds_in
from datk.runs.result import read_result
from tests import build
from tests.earlier import COMPLETE, EARLIER, INTERRUPTED


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("done") / "run"
    build.run(folder)
    return folder


@pytest.fixture
def run(done, tmp_path):
    """A run that a test may damage."""
    return Path(shutil.copytree(done, tmp_path / "run"))


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


FOREIGN = {
    "a model of another library": {
        "config.json": json.dumps({"architectures": ["ViT"], "model_type": "vit", "train": {"lr": 1}}),
        "log.txt": "mine",
        "metrics.jsonl": "{}",
        "checkpoints/last.pt": "weights",
    },
    "an empty configuration": {"config.json": "{}", "result.json": "{}"},
    "a list": {"config.json": "[]", "environment.json": "[]"},
    "a damaged one alone": {"config.json": "{", "result.json": '{"accuracy": 1}'},
    "a nested one": {"config.json": "[" * 100_000},
    "another environment": {"config.json": "{", "environment.json": '{"PATH": "/bin"}'},
    "another list": {"config.json": "{", "environment.json": '[1, "datk"]'},
    "splits of others": {"config.json": "{", "splits.npz": "PK"},
    "words": {"config.json": '{"pair": "a", "backbone": "b", "align": "c", "train": "d"}'},
    "no configuration": {"environment.json": '{"datk": "0.1.0", "packages": {}}', "log.txt": "mine"},
    "half a file of somebody": {"thesis.tex.part": "mine"},
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_folder_of_somebody_else_loses_nothing(name, tmp_path):
    folder = tmp_path / "theirs"
    (folder / "checkpoints").mkdir(parents=True)
    for file, text in FOREIGN[name].items():
        (folder / file).write_text(text)
    before = contents(folder)
    for options in ({}, {"force": True}, {"resume": True}):
        with pytest.raises(RunError, match=r"is not empty and holds no run; choose another --out") as error:
            datk.run(
                pair=build.TOYS + "Toy", backbone="mlp", align="none", device="cpu", out=folder, **options
            )
        assert "--force" not in str(error.value)
        assert contents(folder) == before
    assert not is_run(folder)


@pytest.mark.parametrize("content", ["", "{", "{}", "[" * 100_000, '{"pair": 1}'])
def test_a_run_whose_configuration_is_damaged_is_one(run, content):
    (run / "config.json").write_text(content)
    assert is_run(run)
    (run / "splits.npz").unlink()
    assert is_run(run)
    with pytest.raises(RunError, match="holds a run already; --resume goes on with it, --force replaces it"):
        build.run(run)
    again = datk.run(
        pair=build.TOYS + "Toy", backbone="mlp", align="none", device="cpu", epochs=1, out=run, force=True
    )
    assert again.model_dump() == read_result(run).model_dump()
    (run / "config.json").write_text(content)
    (run / "environment.json").unlink()
    assert is_run(run)  # by splits.npz alone


@pytest.mark.parametrize("folder", [*COMPLETE, *INTERRUPTED], ids=str)
def test_runs_of_an_earlier_version_are_runs(folder):
    assert is_run(EARLIER / folder)


def test_seeds_are_found_in_their_folders(done, tmp_path):
    for name in ("seed-1", "seed-10", "seed-2", "seed-x", "seed-3-abc"):
        shutil.copytree(done, tmp_path / name)
    (tmp_path / "seed-4").mkdir()
    (tmp_path / "seed-5").touch()
    assert seeds_in(tmp_path) == {seed: tmp_path / f"seed-{seed}" for seed in (1, 2, 10)}


# --- links ---------------------------------------------------------------------------------------------


LINKS = (
    "checkpoints",
    "config.json.part",
    "log.txt",
    "metrics.jsonl",
    "checkpoints/last.pt",
    "splits.npz.part",
)


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("option", ["resume", "force"])
def test_nothing_is_written_through_a_link(run, tmp_path, name, option):
    outside = tmp_path / "outside"
    outside.mkdir()
    target = outside / "mine"
    if name == "checkpoints":
        (run / name).rename(target)
    else:
        target.write_text("mine")
        (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(target)
    (run / "result.json").unlink()
    before = contents(outside)
    with pytest.raises(RunError, match=r"is a link, and a run writes through none; remove it, or choose"):
        datk.run(config=run / "config.json", out=run, **{option: True})
    assert contents(outside) == before


def test_a_new_run_writes_through_no_link_either(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json.part").symlink_to(tmp_path / "mine")
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(RunError, match=r"config.json.part is a link"):
        build.run(tmp_path / "run")
    assert (tmp_path / "mine").read_text() == "mine"


def test_the_folder_itself_may_be_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    build.run(tmp_path / "run")
    assert is_run(tmp_path / "elsewhere")


def test_a_run_that_is_replaced_is_one_at_any_moment(run, monkeypatch):
    """Killed in between, it can be replaced again."""

    def killed(self, experiment):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "_write_config", killed)
        with pytest.raises(KeyboardInterrupt):
            datk.run(out=run, force=True, config=run / "config.json")
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "config.json"]
    assert is_run(run)
