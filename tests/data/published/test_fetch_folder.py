"""Fetching from a folder of downloaded files, and mocks."""

import json
import shutil

import pytest

from datk.base.errors import DataError
from datk.data.published.fetch import fetch, fetched, state
from tests.data.published.record_server import AT_ONCE, FILES, ROWS, entry, failing, names, record_for, write


def test_files_of_a_folder_are_read_and_kept(published, content, record, archive):
    before = {path: path.read_bytes() for path in published.iterdir()}
    there, _ = fetch(record, str(published))
    assert there.manifest["from"] == str(published)
    assert {file["checksum"] for file in there.manifest["files"]} == {None}
    assert {path: path.read_bytes() for path in published.iterdir()} == before
    assert archive.requests == []


def test_the_data_folder_itself_keeps_its_files(record, published, home):
    shutil.copytree(published, home)
    fetch(record, str(home))
    assert names(home) == {"data.h5", "manifest.json", *FILES.values()}


def test_record_json_in_a_folder_has_the_last_word(record, published):
    (published / "record.json").write_text(json.dumps(entry(published)))
    assert fetch(record, str(published))[0].manifest["files"][0]["checksum"].startswith("md5:")
    damaged = bytearray((published / "TX.npy").read_bytes())
    damaged[-1] ^= 1
    (published / "TX.npy").write_bytes(damaged)
    with pytest.raises(DataError, match=r"the md5 of TX.npy is .*; download it again"):
        fetch(record, str(published), force=True)


@pytest.mark.parametrize("where", ["nowhere", "ftp://127.0.0.1/x"])
def test_a_folder_that_is_not_there(record, where):
    assert "is not there; --from names the folder" in failing(record, where)


def mock_of(published, content):
    """Other values and sizes than the record has, as a mock."""
    write(
        published,
        {key: array[: ROWS // 2] * (2 if key.endswith("x") else 1) for key, array in content.items()},
    )
    (published / "record.json").write_text(json.dumps(entry(published, mock=True)))


def test_a_mock_is_not_compared_with_the_record(record, published, content, archive):
    mock_of(published, content)
    there, _ = fetch(record, str(published))
    assert (there.mock, there.manifest["compared"]) == (True, [])
    assert there.manifest["datasets"]["source/x"]["shape"][0] == ROWS // 2
    assert state(record) == "mock"
    assert fetch(record, str(published)) == (there, False)


def test_a_mock_is_not_taken_for_the_published_data(record, published, content, archive):
    """Who asks for the published data does not get on with a mock that happens to be there."""
    mock_of(published, content)
    archive.more = {"mock": True}
    fetch(record, record.url, patience=AT_ONCE)
    with pytest.raises(DataError, match=r"mock of tiny-sky.*--force"):
        fetch(record)
    write(published, content)
    archive.more = {}
    there, _ = fetch(record, force=True, patience=AT_ONCE)
    assert not there.mock


def test_a_file_is_missing(record, published):
    (published / "ty.npy").unlink()
    assert "has no file ty.npy" in failing(record, str(published))


def test_a_truncated_file(record, published):
    path = published / "SX.npy"
    path.write_bytes(path.read_bytes()[:-8])
    assert "SX.npy has 30,840 bytes, not 30,848" in failing(record, str(published))


def test_content_that_cannot_be_used_leaves_nothing(published, content, home):
    content["target/y"][5] = 0.5
    write(published, content)
    assert "ty.npy has the label 0.5 in row 5" in failing(record_for(published, content), str(published))
    assert names(home) == set()


# --- what is the user's --------------------------------------------------------------------------------


def spelled(folder, how, tmp_path):
    """The same folder by another name."""
    if how == "..":
        return folder / ".." / folder.name
    link = tmp_path / "link"
    if how == "link":
        link.symlink_to(folder)
        return link
    if how == "link above":
        link.symlink_to(folder.parent)
        return link / folder.name
    link.mkdir()
    for path in folder.iterdir():
        (link / path.name).symlink_to(path)
    return link


@pytest.mark.parametrize("how", ["..", "link", "link above", "links to files"])
def test_downloads_that_lie_in_the_data_folder_stay_however_it_is_spelled(
    record, published, home, tmp_path, how
):
    home.parent.mkdir()
    published.rename(home)
    before = {path.name: path.read_bytes() for path in home.iterdir()}
    fetch(record, str(spelled(home, how, tmp_path)))
    assert {name: (home / name).read_bytes() for name in before} == before
    assert fetched(record).intact


@pytest.mark.parametrize("name", ["data.h5.part", "manifest.json.part", "data.h5", "manifest.json"])
def test_links_in_the_data_folder_are_not_followed(record, published, home, tmp_path, name):
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    home.mkdir(parents=True)
    (home / name).symlink_to(precious)
    fetch(record, str(published), force=True)
    assert precious.read_text() == "mine"
    assert fetched(record).intact
