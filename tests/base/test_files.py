"""Files that are whole or not there."""

import errno
import socket
import subprocess
import sys
import threading
import time

import pytest

from datk.base import files
from datk.base.errors import RunError
from datk.base.files import append_line, only_one, read_json, write_atomically, write_json


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"old"))

    def half(file):
        file.write(b"ne")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(RunError, match=r"cannot write .*file: the disk is full; .* --resume goes on"):
        write_atomically(path, half)
    assert path.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_interrupt_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"old"))

    def interrupted(file):
        file.write(b"ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, interrupted)
    assert path.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_number_that_json_does_not_know_is_never_written(tmp_path):
    with pytest.raises(ValueError, match=r"not JSON compliant"):
        write_json(tmp_path / "file.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_json_is_read_back(tmp_path):
    write_json(tmp_path / "file.json", {"a": [1, None, "ä"]})
    assert read_json(tmp_path / "file.json") == {"a": [1, None, "ä"]}


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe"])
def test_json_that_cannot_be_read_is_named(content, tmp_path):
    if content is not None:
        (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(RunError, match=r"file\.json cannot be read"):
        read_json(tmp_path / "file.json")


def test_lines_are_appended(tmp_path):
    for line in ("one", "two"):
        append_line(tmp_path / "file", line)
    assert (tmp_path / "file").read_text() == "one\ntwo\n"
    with pytest.raises(RunError, match=r"cannot write .*absent/file"):
        append_line(tmp_path / "absent" / "file", "three")


def test_a_link_in_the_place_of_a_file_is_never_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("mine")
    for name in ("file.json", "file.json.part"):
        (tmp_path / name).symlink_to(outside)
    write_json(tmp_path / "file.json", 1)
    assert (outside.read_text(), read_json(tmp_path / "file.json")) == ("mine", 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.json", "outside"]


# --- locks ---------------------------------------------------------------------------------------------


@pytest.fixture(params=["of the system", "a file"])
def locks(request, monkeypatch):
    """Locks on folders, and a file that stands for one where the system has none."""
    if request.param == "a file":

        def none(descriptor, operation):
            raise OSError(errno.EBADF, "Bad file descriptor")

        monkeypatch.setattr(files.fcntl, "flock", none)
    return request.param


def test_a_folder_is_locked_for_one_at_a_time(tmp_path, locks):
    busy = RunError("busy")
    with only_one(tmp_path, busy), pytest.raises(RunError, match="busy"), only_one(tmp_path, busy):
        pass
    with only_one(tmp_path, busy):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_can_be_waited_for(tmp_path, locks):
    order = []

    def later():
        with only_one(tmp_path, RunError("busy"), wait=True):
            order.append("later")

    with only_one(tmp_path, RunError("busy")):
        thread = threading.Thread(target=later)
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "later"]


def test_the_lock_of_a_folder_that_is_gone_is_nobodys(tmp_path, monkeypatch):
    """It was removed, and made again, between opening and locking."""
    folder = tmp_path / "folder"
    folder.mkdir()
    lock = files.fcntl.flock

    def removed(descriptor, operation):
        folder.rename(tmp_path / "elsewhere")
        folder.mkdir()
        lock(descriptor, operation)

    monkeypatch.setattr(files.fcntl, "flock", removed)
    with pytest.raises(RunError, match="busy"), only_one(folder, RunError("busy")):
        pass


@pytest.mark.parametrize("locks", ["a file"], indirect=True)
def test_the_lock_of_a_dead_process_is_taken_over_and_that_of_another_machine_is_named(tmp_path, locks):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / files.LOCK).write_text(f"{socket.gethostname()} {dead.pid}")
    with only_one(tmp_path, RunError("busy")):
        pass
    (tmp_path / files.LOCK).write_text(f"elsewhere {dead.pid}")
    says = rf"busy; if process {dead.pid} on elsewhere is no more, remove .*\.datk-lock"
    with pytest.raises(RunError, match=says), only_one(tmp_path, RunError("busy")):
        pass
