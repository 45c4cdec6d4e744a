"""Installed pairs and the published data they need."""

import pytest

from datk.base.errors import ConfigError, DataError, PluginError
from datk.data.published import catalog
from datk.data.published.records import Record

PAIRS = '''
from datk.data.published.records import Record


def mock(folder, scale, seed):
    (folder / "made").write_text(f"{scale} {seed}")


def record(name, mock):
    return Record(name, "skies", "skies", "https://archive.test/1", "Nobody (2020)", {}, mock=mock)


class North:
    """The northern sky."""

    record = record("north", mock)
    notes = property(lambda self: ("computed",))


class South:
    record = record("south", mock)
    notes = ("cold",)


class Drawn:
    record = None
'''


@pytest.fixture(autouse=True)
def _skies(install, monkeypatch):
    pairs = {name: f"skies:{name.title()}" for name in ("north", "south", "drawn")}
    install("skies", {"datk.pairs": pairs | {"broken": "no_such_module:Sky"}}, skies=PAIRS)
    monkeypatch.setenv("DATK_PLUGINS", "skies")


def test_pairs_are_listed_and_a_broken_one_warned_of():
    with pytest.warns(UserWarning, match="'broken'"):
        drawn, north, south = catalog.pairs()
    assert (drawn.name, drawn.record, drawn.summary) == ("drawn", None, "")
    assert (north.record.name, north.summary, north.notes) == ("north", "The northern sky.", ())
    assert south.notes == ("cold",)


def test_the_record_of_a_pair():
    assert catalog.record_of("north").name == "north"
    with pytest.raises(ConfigError, match="'drawn' needs no published data"):
        catalog.record_of("drawn")
    with pytest.raises(PluginError, match="did you mean 'north'"):
        catalog.record_of("nort")


@pytest.mark.filterwarnings("ignore:.*'broken'")
def test_a_mock_serves_all_pairs_of_its_publication(tmp_path):
    folder = tmp_path / "deep" / "m"
    assert catalog.write_mock("skies", folder, 0.5, 3) == ["north", "south"]
    assert (folder / "made").read_text() == "0.5 3"
    with pytest.raises(DataError, match="is not empty"):
        catalog.write_mock("skies", folder, 0.5, 3)
    with pytest.raises(ConfigError, match="did you mean 'skies'"):
        catalog.write_mock("skis", tmp_path / "n", 0.5, 3)


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("the disk is full"), ValueError])
def test_a_mock_that_fails_leaves_what_others_put_there(tmp_path, monkeypatch, error, there):
    folder = tmp_path / "deep" / "m"
    if there:
        folder.mkdir(parents=True)

    def failing(part, scale, seed):
        (part / "ours.npy").touch()
        (folder / "theirs.txt").write_text("mine")
        raise error

    monkeypatch.setattr(catalog, "pairs", lambda: [listed(failing)])
    with pytest.raises(DataError if isinstance(error, OSError) else error):
        catalog.write_mock("skies", folder, 0.5, 3)
    assert [path.name for path in folder.iterdir()] == ["theirs.txt"]


@pytest.mark.parametrize("there", [True, False])
def test_a_mock_that_fails_leaves_no_folder_that_it_made(tmp_path, monkeypatch, there):
    folder = tmp_path / "deep" / "m"
    if there:
        folder.mkdir(parents=True)

    def failing(part, scale, seed):
        (part / "ours.npy").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(catalog, "pairs", lambda: [listed(failing)])
    with pytest.raises(KeyboardInterrupt):
        catalog.write_mock("skies", folder, 0.5, 3)
    assert (folder.exists(), folder.parent.exists()) == (there, there)


def test_a_mock_overwrites_nothing_that_came_meanwhile(tmp_path, monkeypatch):
    folder = tmp_path / "m"

    def write(part, scale, seed):
        (part / "a.npy").write_text("ours")
        (folder / "a.npy").write_text("mine")

    monkeypatch.setattr(catalog, "pairs", lambda: [listed(write)])
    with pytest.raises(DataError, match=r"has got a file a\.npy meanwhile"):
        catalog.write_mock("skies", folder, 0.5, 3)
    assert (folder / "a.npy").read_text() == "mine"
    assert [path.name for path in folder.iterdir()] == ["a.npy"]


def test_what_a_killed_mock_left_is_no_obstacle(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "pairs", lambda: [listed(lambda part, scale, seed: (part / "made").touch())])
    (tmp_path / "m" / ".mock.part").mkdir(parents=True)
    assert catalog.write_mock("skies", tmp_path / "m", 0.5, 3) == ["north"]


def listed(write):
    made = Record("north", "skies", "skies", "https://archive.test/1", "Nobody (2020)", {}, mock=write)
    return catalog.ListedPair("north", "", made, ())
