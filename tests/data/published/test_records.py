"""What fetched data are to a pair: where they lie, and whether they are whole."""

import json
from pathlib import Path

import pytest

from datk.base.errors import DataError
from datk.data.published.records import (
    MANIFEST,
    MissingDataError,
    Record,
    RecordFile,
    data_folder,
    open_record,
    size_text,
)

RECORD = Record(
    name="sky",
    publication="skies",
    title="a sky",
    url="https://archive.test/1",
    reference="Nobody (2020)",
    files={"source/x": RecordFile("x.npy", 2_000_000), "source/y": RecordFile("y.npy", 500_000)},
)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DATK_DATA_DIR", str(tmp_path / "home"))
    return tmp_path / "home"


def lay(folder, size=4):
    folder.mkdir(parents=True)
    (folder / "data.h5").write_bytes(b"data")
    (folder / "manifest.json").write_text(json.dumps(manifest(size)))


def manifest(size):
    return dict.fromkeys(MANIFEST, "said") | {"size": size, "mock": True}


def test_the_data_folder_is_that_of_the_user(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DATK_DATA_DIR", "~/big")
    assert data_folder() == Path("/home/me/big")
    monkeypatch.delenv("DATK_DATA_DIR")
    monkeypatch.setenv("XDG_DATA_HOME", "/xdg")
    assert data_folder() == Path("/xdg/datk")
    monkeypatch.delenv("XDG_DATA_HOME")
    assert data_folder() == Path("/home/me/.local/share/datk")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_900, "1.0 MB"),
        (12_345_678, "12.3 MB"),
        (5_785_363_840, "5.8 GB"),
        (2e12, "2000.0 GB"),
    ],
)
def test_sizes_for_people(size, text):
    assert size_text(size) == text


def test_fetched_data_are_opened(home, tmp_path):
    lay(home / "sky")
    assert open_record(RECORD) == (home / "sky" / "data.h5", manifest(4))
    lay(tmp_path / "elsewhere")
    path = tmp_path / "elsewhere" / "data.h5"
    assert open_record(RECORD, path)[0] == open_record(RECORD, str(path))[0] == path


@pytest.mark.parametrize("key", sorted(MANIFEST))
def test_a_manifest_that_leaves_something_out_is_none(home, key):
    """Without the word whether the data are a mock, results would not say it either."""
    lay(home / "sky")
    content = manifest(4)
    del content[key]
    (home / "sky" / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="is not the file that its manifest describes"):
        open_record(RECORD)


@pytest.mark.parametrize("missing", ["data.h5", "manifest.json"])
def test_missing_data_say_how_to_fetch_them(home, missing):
    lay(home / "sky")
    (home / "sky" / missing).unlink()
    with pytest.raises(MissingDataError) as error:
        open_record(RECORD)
    for part in (str(home), "datk data fetch sky (2.5 MB to download)", "datk data mock skies"):
        assert part in str(error.value)


@pytest.mark.parametrize("manifest", ["", "[]", "{}", '{"size": 5}', '{"size": null}', "\udcff"])
def test_a_manifest_of_another_file(home, manifest):
    lay(home / "sky")
    (home / "sky" / "manifest.json").write_bytes(manifest.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match="datk data fetch sky --force"):
        open_record(RECORD)
