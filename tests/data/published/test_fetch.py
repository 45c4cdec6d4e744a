"""A published record on its way from an archive to data.h5 and manifest.json."""

import errno
import fcntl
import hashlib
import json
import os
import resource
import shutil
import signal
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

from datk.base.errors import DataError
from datk.base.files import only_one
from datk.data.published.fetch import fetch, fetched, state
from datk.data.published.progress import Progress
from datk.data.published.records import open_record
from tests.data.published.record_server import (
    AT_ONCE,
    FILES,
    ROWS,
    Fault,
    entry,
    failing,
    names,
    record_for,
)

# --- what it comes to ----------------------------------------------------------------------------------


def test_a_record_becomes_one_file_and_its_manifest(record, archive, home, content):
    assert state(record) == "not fetched"
    there, new = fetch(record, patience=AT_ONCE)
    assert new
    assert names(home) == {"data.h5", "manifest.json"}
    path, manifest = open_record(record)
    assert (path, manifest) == (there.path, there.manifest)
    assert state(record) == "fetched"
    with h5py.File(path) as file:
        for key, array in content.items():
            assert file[key].dtype == (np.float32 if key.endswith("x") else np.int64)
            np.testing.assert_array_equal(file[key], array.astype(file[key].dtype))
    assert manifest["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert there.intact
    assert manifest["size"] == path.stat().st_size
    assert manifest["datasets"]["source/y"] == {"shape": [ROWS], "dtype": "int64"}
    assert manifest["datasets"]["target/x"]["mean"] == pytest.approx(content["target/x"].mean((0, 2, 3)))
    assert manifest["datasets"]["target/x"]["std"] == pytest.approx(content["target/x"].std((0, 2, 3)))
    assert manifest["record"] == {
        "title": "Tiny sky",
        "reference": "Nobody (2020)",
        "url": record.url,
        "doi": "10.1/tiny",
        "licence": "cc-by-4.0",
    }
    described = {file["key"]: file for file in entry(archive.folder)["files"]}
    assert [file["checksum"] for file in manifest["files"]] == [
        described[FILES[file["dataset"]]]["checksum"] for file in manifest["files"]
    ]
    assert (manifest["mock"], manifest["compared"]) == (False, ["source/x", "target/x"])


def test_what_is_there_is_not_fetched_again(record, archive):
    first, _ = fetch(record, patience=AT_ONCE)
    asked = len(archive.requests)
    assert fetch(record) == (first, False)
    assert len(archive.requests) == asked
    again, new = fetch(record, force=True, patience=AT_ONCE)
    assert new
    assert again.manifest["sha256"] == first.manifest["sha256"]


def test_the_pair_adds_to_the_file(published, content):
    def prepare(file):
        file["source/group"] = np.arange(len(file["source/x"]))

    there, _ = fetch(record_for(published, content, prepare=prepare), str(published))
    assert there.manifest["datasets"]["source/group"] == {"shape": [ROWS], "dtype": "int64"}


def test_a_fault_of_the_pair_leaves_nothing(published, content, home):
    def prepare(file):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fetch(record_for(published, content, prepare=prepare), str(published))
    assert names(home) == set()


def test_a_changed_file_is_noticed(record):
    there, _ = fetch(record, patience=AT_ONCE)
    with h5py.File(there.path, "r+") as file:
        file["source/y"][0] = 7
    assert not fetched(record).intact
    there.path.write_bytes(b"short")
    assert state(record) == "damaged"
    with pytest.raises(DataError, match="--force"):
        fetch(record)
    assert fetch(record, force=True, patience=AT_ONCE)[0].intact


@pytest.mark.parametrize("text", ["", "<html>busy</html>"])
def test_a_malformed_entry(record, archive, home, text):
    archive.text = text
    assert f"{record.url} is no entry of an archive" in failing(record)


def test_an_entry_without_a_link(record, archive):
    described = entry(archive.folder)
    del described["files"][0]["links"]
    archive.text = json.dumps(described)
    assert "has no link to SX.npy" in failing(record)


def test_a_missing_record(record, archive):
    archive.faults["record.json"] = Fault(status=404)
    assert "404" in failing(record)


# --- interrupted ---------------------------------------------------------------------------------------


def test_a_failed_download_goes_on_later(record, archive, home):
    archive.faults["TX.npy"] = Fault(times=100, cut_at=1000)
    archive.ranges = False
    assert "the same command again" in failing(record)
    assert names(home) == {"SX.npy", "sy.npy", "TX.npy.part"}
    archive.faults, archive.ranges = {}, True
    archive.served.clear()
    fetch(record, patience=AT_ONCE)
    size = record.files["target/x"].size
    assert archive.served == {"TX.npy": size - 1000, "ty.npy": record.files["target/y"].size}
    assert names(home) == {"data.h5", "manifest.json"}


def interrupt():
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def test_ctrl_c_in_a_download_keeps_its_bytes(record, archive, home):
    archive.faults["SX.npy"] = Fault(called=interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(record, patience=AT_ONCE)
    assert names(home) == {"SX.npy.part"}
    kept = (home / "SX.npy.part").stat().st_size
    assert kept > 0
    fetch(record, patience=AT_ONCE)
    assert ("SX.npy", f"bytes={kept}-") in archive.requests


class Interrupted(Progress):
    """Ctrl-C in the middle of a part of the work."""

    def __init__(self, what):
        self.what = what

    def begin(self, what, total, done=0):
        self.now = what == self.what

    def advance(self, size):
        if self.now:
            raise KeyboardInterrupt


@pytest.mark.parametrize("what", ["converting", "checksum"])
def test_ctrl_c_in_a_conversion_keeps_the_downloads(record, archive, home, what):
    with pytest.raises(KeyboardInterrupt):
        fetch(record, progress=Interrupted(what), patience=AT_ONCE)
    assert names(home) == set(FILES.values())
    archive.served.clear()
    assert fetch(record, patience=AT_ONCE)[1]
    assert archive.served == {}


def test_data_without_a_manifest_do_not_count(record, home, monkeypatch):
    """Neither does the manifest of the file before."""
    fetch(record, patience=AT_ONCE)
    os_fsync, calls = os.fsync, []

    def dying(file):
        calls.append(file)
        if len(calls) == 2:
            raise SystemExit
        os_fsync(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", dying)
        with pytest.raises(SystemExit):
            fetch(record, force=True, patience=AT_ONCE)
    assert {"data.h5", *FILES.values()} <= names(home)
    assert state(record) == "not fetched"
    assert fetch(record, patience=AT_ONCE)[1]


# --- the disk ------------------------------------------------------------------------------------------


def test_a_full_disk_in_the_conversion(record, home, monkeypatch):
    """The space is claimed first: HDF5 would crash as it closes a file that it could not write."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    message = failing(record)
    assert "the disk is full" in message
    assert "DATK_DATA_DIR" in message
    assert names(home) == set(FILES.values())


@pytest.mark.parametrize(("limit", "kept"), [(20_000, {"SX.npy.part"}), (50_000, set(FILES.values()))])
def test_more_than_a_file_may_hold(record, archive, home, limit, kept):
    """A limit that the system really sets, as a full disk does: in a download, in the conversion."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        message = failing(record)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "File too large; see to it" in message
    assert names(home) == kept
    archive.served.clear()
    assert fetch(record, patience=AT_ONCE)[1]
    size = record.files["source/x"].size
    assert archive.served.get("SX.npy", 0) == (size - limit if limit < size else 0)


def test_too_little_room_is_said_before_the_start(record, archive, home, monkeypatch):
    usage = shutil.disk_usage(Path.cwd())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=record.size))
    message = failing(record)
    assert f"{home} needs 93.4 kB and has 62.3 kB free" in message
    assert "DATK_DATA_DIR" in message
    assert archive.served == {}
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=record.size * 3 // 2))
    assert fetch(record, patience=AT_ONCE)[1]


def test_too_little_room_for_the_conversion(record, published, home, monkeypatch):
    usage = shutil.disk_usage(Path.cwd())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=31_000))
    assert f"{home} needs 31.0 kB and has 31.0 kB free" in failing(record, str(published))


def test_a_folder_that_cannot_be_made(record, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DATK_DATA_DIR", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot fetch into .*file/tiny-sky"):
        fetch(record, patience=AT_ONCE)


def test_two_fetches_at_once(record, home):
    home.mkdir(parents=True)
    with only_one(home, DataError("")):
        assert f"another fetch is at work in {home}" in failing(record)
    assert fetch(record, patience=AT_ONCE)[1]


def test_a_file_system_without_locks(record, monkeypatch):
    def unable(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unable)
    assert fetch(record, patience=AT_ONCE)[1]


def test_downloads_of_an_interrupted_fetch_go_when_a_folder_serves(record, published, home):
    home.mkdir(parents=True)
    (home / "SX.npy.part").write_bytes(b"half")
    (home / "sy.npy").write_bytes(b"whole")
    fetch(record, str(published))
    assert names(home) == {"data.h5", "manifest.json"}
    assert (published / "SX.npy").is_file()


def test_data_of_another_origin_are_not_taken_for_those_asked_for(record, published, tmp_path):
    fetch(record, str(published))
    assert not fetch(record, str(published))[1]
    assert not fetch(record)[1]
    for origin in (str(tmp_path / "nowhere"), record.url):
        with pytest.raises(
            DataError, match=r"fetched from .*published.*; to replace it, give the same command"
        ):
            fetch(record, origin)
