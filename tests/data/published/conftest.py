"""A small published record, the archive that serves it, and the user's data folder."""

import pytest

from tests.data.published.record_server import Archive, arrays, record_for, write


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Where fetched data go."""
    monkeypatch.setenv("DATK_DATA_DIR", str(tmp_path / "home"))
    return tmp_path / "home" / "tiny-sky"


@pytest.fixture
def content():
    return arrays()


@pytest.fixture
def published(tmp_path, content):
    """The folder of published files."""
    return write(tmp_path / "published", content)


@pytest.fixture
def archive(published):
    archive = Archive(published)
    yield archive
    archive.close()


@pytest.fixture
def record(published, content, archive):
    return record_for(published, content, archive.url + "record.json")
