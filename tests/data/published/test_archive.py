"""What an archive says of a record, well and badly."""

import dataclasses
import json

import pytest

from datk.base.errors import DataError
from datk.data.published.archive import folder_entry, is_url, parse_entry
from tests.data.published.record_server import FILES, arrays, entry, record_for, write

URL = "https://archive.test/api/records/1"


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "published", arrays())


@pytest.fixture
def record(folder):
    return record_for(folder, arrays())


@pytest.fixture
def described(folder):
    return entry(folder, "https://archive.test/files/")


def failing(described, record):
    text = described if isinstance(described, str) else json.dumps(described)
    with pytest.raises(DataError) as error:
        parse_entry(text.encode(), record, URL)
    assert URL in str(error.value)
    return str(error.value)


def test_an_entry_gives_sizes_checksums_and_links(described, record):
    read = parse_entry(json.dumps(described).encode(), record, URL)
    assert (read.title, read.doi, read.licence, read.mock) == ("Tiny sky", "10.1/tiny", "cc-by-4.0", False)
    by_name = {file["key"]: file for file in described["files"]}
    for key, name in FILES.items():
        file, said = read.files[key], by_name[name]
        expected = (name, said["size"], said["checksum"], said["links"]["self"])
        assert dataclasses.astuple(file) == expected
    assert read.size == record.size


def test_an_entry_needs_no_more_than_files(described, record):
    read = parse_entry(json.dumps({"files": described["files"]}).encode(), record, URL)
    assert (read.title, read.doi, read.licence) == ("a tiny sky", None, None)


def test_a_file_that_serves_two_datasets_counts_once(described, record):
    files = {**record.files, "target/y": record.files["source/y"]}
    read = parse_entry(json.dumps(described).encode(), dataclasses.replace(record, files=files), URL)
    assert len(read.distinct) == 3


def test_relative_links_and_those_to_the_content(described, record):
    for file in described["files"]:
        file["links"] = {"self": "nowhere", "content": file["key"]}
    read = parse_entry(json.dumps(described).encode(), record, URL)
    assert read.files["source/x"].url == "https://archive.test/api/records/SX.npy"


@pytest.mark.parametrize("text", ["", "[]", "null", "<html>busy</html>", '{"files": 3}', '{"files": [3]}'])
def test_a_text_that_is_no_entry(record, text):
    assert "is no entry of an archive" in failing(text, record)


@pytest.mark.parametrize("field", ["key", "size", "checksum"])
def test_an_entry_that_lacks_something(described, record, field):
    del described["files"][0][field]
    assert f"KeyError: '{field}'" in failing(described, record)


def test_an_entry_without_a_file_of_the_record(described, record):
    del described["files"][1]
    assert "has no file TX.npy" in failing(described, record)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("checksum", "crc32:12345678"),
        ("checksum", "md5:xyz"),
        ("checksum", None),
        ("size", -1),
        ("size", "10"),
        ("links", {"self": "file:///etc/passwd"}),
    ],
)
def test_an_entry_that_says_nonsense(described, record, field, value):
    described["files"][0][field] = value
    assert str(value if field != "links" else value["self"]) in failing(described, record)


def test_mock_is_true_or_false(described, record):
    assert "mock is neither true nor false" in failing({**described, "mock": "no"}, record)
    assert parse_entry(json.dumps({**described, "mock": True}).encode(), record, URL).mock


def test_another_version_of_the_record(described, record):
    described["files"][3]["size"] += 8
    message = failing(described, record)
    assert "ty.npy has 296 bytes" in message
    assert "has 288; is it another version" in message


def test_a_folder_is_described_by_its_record_json_or_the_record(folder, record, described):
    bare = folder_entry(folder, record)
    assert {file.checksum for file in bare.files.values()} == {None}
    assert (bare.size, bare.title) == (record.size, "a tiny sky")
    (folder / "record.json").write_text(json.dumps(described))
    assert folder_entry(folder, record).files["source/x"].checksum == described["files"][0]["checksum"]
    (folder / "record.json").write_text("{")
    with pytest.raises(DataError, match=r"record\.json is no entry"):
        folder_entry(folder, record)


def test_what_is_an_address():
    assert [is_url(where) for where in ("https://x", "HTTP://x", "ftp://x", "m", "/m")] == [True, True] + [
        False
    ] * 3
