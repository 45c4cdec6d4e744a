"""Files that are whole or not there."""

import errno

import pytest

from datk.base.errors import RunError
from datk.base.files import append_line, read_json, write_atomically, write_json


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
