"""Folders that nobody named: each run has its own, whoever else starts at the same time."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

import datk
from datk.base.errors import DataError, RunError
from datk.runs import reserve
from datk.runs.reserve import new_folder
from tests.build import experiment
from tests.toys import TOYS


class Frozen:
    """A clock that stands still."""

    @classmethod
    def now(cls):
        return cls

    @staticmethod
    def strftime(_):
        return "20260101-000000"


def test_a_folder_is_named_for_time_components_and_seed():
    chosen = experiment(align=[TOYS + "Centroid", "mmd"], reg="fisher")
    with new_folder(chosen, [3]) as folder:
        assert re.fullmatch(r"runs/\d{8}-\d{6}-Toy-mlp-Centroid-mmd-fisher-seed-3", str(folder))
        (folder / "file").touch()
    with new_folder(chosen, [0, 1, 2]) as several:
        assert str(several).endswith("-fisher-3-seeds")
    assert (folder.is_dir(), several.exists()) == (True, False)


def test_those_who_start_at_the_same_time_get_folders_of_their_own(monkeypatch):
    monkeypatch.setattr(reserve, "datetime", Frozen)
    chosen, together = experiment(), Barrier(8)

    def start(_):
        together.wait()
        with new_folder(chosen, [0]) as folder:
            (folder / "file").touch()
            return folder.name

    with ThreadPoolExecutor(8) as pool:
        names = sorted(pool.map(start, range(8)))
    first = "20260101-000000-Toy-mlp-none-seed-0"
    assert names == [first, *(f"{first}-{number}" for number in range(2, 9))]


def test_nothing_is_left_of_a_run_that_could_not_start():
    with pytest.raises(DataError):
        datk.run(pair={"name": TOYS + "Toy", "source_rows": 2}, backbone="mlp", align="none", device="cpu")
    assert not Path("runs").exists()


def test_a_place_where_none_can_be_made():
    Path("runs").touch()
    with pytest.raises(RunError, match=r"cannot write runs/"), new_folder(experiment(), [0]):
        pass


def test_many_components_make_no_name_that_is_too_long():
    chosen = experiment(pair={"name": TOYS + "Toy"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(chosen.pair), "label", "x" * 400)
        with new_folder(chosen, [0]) as folder:
            assert folder.is_dir()


def test_processes_that_start_at_the_same_time_get_folders_of_their_own(monkeypatch):
    monkeypatch.setattr(reserve, "datetime", Frozen)
    chosen, children = experiment(), []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            try:
                with new_folder(chosen, [0]) as folder:
                    (folder / str(os.getpid())).touch()
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    assert sorted(int(file.name) for file in Path("runs").glob("*/*")) == sorted(children)
    assert len(list(Path("runs").iterdir())) == 4
