"""The transfer of one file from a server that misbehaves."""

import dataclasses
import errno
import hashlib
import io
import time
from pathlib import Path

import numpy as np
import pytest

from datk.base.errors import DataError
from datk.data.published.archive import ArchiveFile
from datk.data.published.connection import Patience, read_url
from datk.data.published.download import download
from datk.data.published.progress import Progress
from tests.data.published.record_server import Archive, Fault

CONTENT = np.random.default_rng(0).bytes(200_000)
HALF = len(CONTENT) // 2


class Recorded(Progress):
    """Remembers what it is told."""

    def __init__(self):
        self.notes, self.begun, self.done = [], [], 0

    def begin(self, what, total, done=0):
        self.begun.append((what, total, done))
        self.done = done

    def advance(self, size):
        self.done += size

    def note(self, text):
        self.notes.append(text)


class Clock(list):
    """The waits between tries, none of which takes time."""

    def patience(self, **fields):
        return Patience(**{"sleep": self.append, "timeout": 5.0, **fields})


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def progress():
    return Recorded()


@pytest.fixture
def archive(tmp_path):
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "x.npy").write_bytes(CONTENT)
    archive = Archive(tmp_path / "served")
    yield archive
    archive.close()


@pytest.fixture
def file(archive):
    checksum = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
    return ArchiveFile("x.npy", len(CONTENT), checksum, archive.url + "x.npy")


PART = Path("x.npy.part")
WHOLE = Path("x.npy")


def failing(file, progress, patience):
    with pytest.raises(DataError) as error:
        download(file, WHOLE, progress, patience)
    assert not WHOLE.exists()
    return str(error.value)


def test_a_file_arrives(archive, file, progress, clock):
    download(file, WHOLE, progress, clock.patience())
    assert WHOLE.read_bytes() == CONTENT
    assert not PART.exists()
    assert archive.requests == [("x.npy", None)]
    assert progress.begun == [(f"{what} x.npy", len(CONTENT), 0) for what in ("downloading", "checking")]
    assert (progress.done, clock) == (len(CONTENT), [])


def test_a_whole_file_is_kept_and_a_wrong_one_replaced(archive, file, progress, clock):
    WHOLE.write_bytes(CONTENT)
    download(file, WHOLE, progress, clock.patience())
    assert archive.requests == []
    WHOLE.write_bytes(CONTENT[::-1])
    download(file, WHOLE, progress, clock.patience())
    assert WHOLE.read_bytes() == CONTENT


def test_a_cut_connection_is_resumed_where_it_broke(archive, file, progress, clock):
    archive.faults["x.npy"] = Fault(times=2, cut_at=50_000)
    download(file, WHOLE, progress, clock.patience())
    assert WHOLE.read_bytes() == CONTENT
    assert [wanted for _, wanted in archive.requests] == [None, "bytes=50000-", "bytes=100000-"]
    assert archive.served["x.npy"] == len(CONTENT)
    assert len(clock) == 2
    assert max(clock) <= 1.0, "each try brought something new, so that waits do not grow"


def test_what_an_earlier_call_left_is_resumed(archive, file, progress, clock):
    PART.write_bytes(CONTENT[:HALF])
    download(file, WHOLE, progress, clock.patience())
    assert WHOLE.read_bytes() == CONTENT
    assert archive.served["x.npy"] == len(CONTENT) - HALF
    assert progress.begun[0] == ("downloading x.npy", len(CONTENT), HALF)


def test_a_whole_part_needs_no_request(archive, file, progress, clock):
    PART.write_bytes(CONTENT)
    download(file, WHOLE, progress, clock.patience())
    assert archive.requests == []


@pytest.mark.parametrize(
    "left", [CONTENT + b"more", b"other" + CONTENT[5:HALF]], ids=["longer", "other bytes"]
)
def test_a_part_of_another_file_is_thrown_away(archive, file, progress, clock, left):
    PART.write_bytes(left)
    download(file, WHOLE, progress, clock.patience())
    assert WHOLE.read_bytes() == CONTENT


def test_without_ranges_a_download_starts_again(archive, file, progress, clock):
    archive.ranges = False
    PART.write_bytes(CONTENT[:HALF])
    download(file, WHOLE, progress, clock.patience())
    assert WHOLE.read_bytes() == CONTENT
    assert progress.notes == ["x.npy: the server cannot resume; starting again"]
    assert progress.done == len(CONTENT)


def test_a_server_without_ranges_that_always_cuts_is_given_up(archive, file, progress, clock):
    archive.ranges = False
    archive.faults["x.npy"] = Fault(times=100, cut_at=1000)
    message = failing(file, progress, clock.patience(tries=3))
    assert "cut at 1,000 of 200,000 bytes, 3 tries in a row" in message
    assert len(archive.requests) == 3


def test_to_come_as_far_as_before_is_no_progress(archive, file, progress, clock):
    archive.ranges = False
    archive.faults["x.npy"] = Fault(times=100, cut_at=1000)
    cuts = iter([500, 1000] * 5)

    def cut_elsewhere(_):
        archive.faults["x.npy"].cut_at = next(cuts)

    failing(file, progress, clock.patience(tries=3, sleep=cut_elsewhere))
    assert len(archive.requests) == 3


def test_a_range_that_was_not_asked_for_is_not_stitched(archive, file, progress, clock):
    PART.write_bytes(CONTENT[:HALF])
    archive.faults["x.npy"] = Fault(shift=5)
    download(file, WHOLE, progress, clock.patience())
    assert progress.notes[0].startswith("the server sent another range")
    assert archive.requests[1:] == [("x.npy", None)]
    assert WHOLE.read_bytes() == CONTENT


def test_a_longer_part_does_not_count_as_far(archive, file, progress, clock):
    PART.write_bytes(CONTENT * 2)
    archive.faults["x.npy"] = Fault(times=3, cut_at=50_000)
    download(file, WHOLE, progress, clock.patience(tries=2))
    assert WHOLE.read_bytes() == CONTENT


def test_a_changed_file_is_not_stitched_to_the_old_one(archive, file, progress, clock, monkeypatch):
    """The ETag of the first connection no longer holds at the second."""
    archive.faults["x.npy"] = Fault(cut_at=HALF)

    def change(_):
        monkeypatch.setattr("tests.data.published.record_server.ETAG", '"2"')

    download(file, WHOLE, progress, clock.patience(sleep=change))
    assert archive.requests[1] == ("x.npy", f"bytes={HALF}-")
    assert archive.served["x.npy"] == len(CONTENT) + HALF
    assert WHOLE.read_bytes() == CONTENT


def test_a_refused_range_starts_again(archive, file, progress, clock):
    PART.write_bytes(CONTENT[:HALF])
    archive.faults["x.npy"] = Fault(status=416)
    download(file, WHOLE, progress, clock.patience())
    assert [wanted for _, wanted in archive.requests] == [f"bytes={HALF}-", None]
    assert WHOLE.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [404, 403, 410])
def test_what_is_not_there_is_an_error_at_once(archive, file, progress, clock, status):
    archive.faults["x.npy"] = Fault(times=100, status=status)
    message = failing(file, progress, clock.patience())
    assert f"{status}" in message
    assert file.url in message
    assert "--from" in message
    assert (len(archive.requests), clock) == (1, [])


def test_waits_between_failures_double(archive, file, progress, clock):
    archive.faults["x.npy"] = Fault(times=100, status=503)
    message = failing(file, progress, clock.patience(tries=5, first_wait=2.0, longest_wait=8.0))
    assert "503" in message
    assert "5 tries in a row" in message
    assert [bound / 2 <= wait <= bound for wait, bound in zip(clock, (2, 4, 8, 8), strict=True)] == [True] * 4
    assert len(progress.notes) == 4


@pytest.mark.parametrize(
    ("status", "after"), [(429, "7"), (503, "7"), (429, "Wed, 21 Oct 2015 07:28:00 GMT")]
)
def test_retry_after_is_honoured(archive, file, progress, clock, status, after):
    archive.faults["x.npy"] = Fault(status=status, headers={"Retry-After": after})
    download(file, WHOLE, progress, clock.patience())
    assert clock == [7.0 if after == "7" else 0.0]
    assert WHOLE.read_bytes() == CONTENT


def test_a_long_retry_after_is_left_to_the_user(archive, file, progress, clock):
    archive.faults["x.npy"] = Fault(status=429, headers={"Retry-After": "3600"})
    assert "come back in 3600 s" in failing(file, progress, clock.patience())
    assert clock == []


def test_a_malformed_retry_after_is_not_believed(archive, file, progress, clock):
    archive.faults["x.npy"] = Fault(status=500, headers={"Retry-After": "soon"})
    download(file, WHOLE, progress, clock.patience(first_wait=4.0))
    assert 2 <= clock[0] <= 4


def test_a_stalled_transfer_is_given_up_and_resumed(archive, file, progress, clock):
    archive.faults["x.npy"] = Fault(stall_at=HALF)
    download(file, WHOLE, progress, clock.patience(timeout=0.2))
    assert WHOLE.read_bytes() == CONTENT
    assert archive.served["x.npy"] == len(CONTENT)
    assert progress.notes[0].startswith("the server fell silent")


def test_nobody_listens(archive, file, progress, clock):
    archive.close()
    message = failing(file, progress, clock.patience(tries=2))
    assert "refused" in message
    assert "same command again" in message


def test_a_wrong_checksum_is_tried_once_more(archive, file, progress, clock):
    archive.faults["x.npy"] = Fault(flip=True)
    download(file, WHOLE, progress, clock.patience())
    assert WHOLE.read_bytes() == CONTENT
    assert progress.notes[0].startswith("the md5 of x.npy.part is ")


def test_a_checksum_that_stays_wrong_is_an_error(archive, file, progress, clock):
    wrong = dataclasses.replace(file, checksum=f"sha256:{'0' * 64}")
    message = failing(wrong, progress, clock.patience())
    assert f"not {'0' * 64}, twice" in message
    assert (len(archive.requests), PART.exists()) == (2, False)


def test_another_size_than_announced_is_an_error_at_once(archive, file, progress, clock):
    archive.faults["x.npy"] = Fault(longer=5)
    message = failing(file, progress, clock.patience())
    assert "gives 200,005 bytes where the record says 200,000" in message
    assert clock == []


def test_a_full_disk_keeps_what_was_brought(archive, file, progress, clock, monkeypatch):
    """The error of the disk is not mistaken for one of the connection."""
    opened = Path.open

    class Full(io.FileIO):
        def write(self, data):
            if self.tell() + len(data) > HALF:
                super().write(data[: HALF - self.tell()])
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    with monkeypatch.context() as patch:
        patch.setattr(
            Path, "open", lambda path, mode="r": Full(path, "a") if mode == "ab" else opened(path, mode)
        )
        with pytest.raises(OSError, match="No space left"):
            download(file, WHOLE, progress, clock.patience())
    assert PART.read_bytes() == CONTENT[:HALF]
    assert clock == []
    download(file, WHOLE, progress, clock.patience())
    assert archive.requests[-1] == ("x.npy", f"bytes={HALF}-")


# --- a server that is slow -----------------------------------------------------------------------------

HURRIED = Patience(sleep=lambda _: None, timeout=5.0, window=0.3, least_rate=1000.0)


@pytest.mark.parametrize("what", ["headers", "body"])
def test_a_server_that_drips_is_given_up(archive, file, progress, what):
    """A byte every 20 ms never makes a read time out."""
    archive.faults["x.npy"] = Fault(times=99, drip=what)
    started = time.monotonic()
    said = failing(file, progress, HURRIED)
    assert time.monotonic() - started < 5
    assert "the server is too slow: less than 1 kB/s for 0.3 s, 2 tries in a row" in said
    assert "the same command again" in said
    assert "--from" in said


def test_a_slow_start_does_not_cost_what_came(archive, file, progress):
    """The second connection is as fast as ever and goes on behind what the first one brought."""
    archive.faults["x.npy"] = Fault(times=1, drip="body")
    download(file, WHOLE, progress, HURRIED)
    assert WHOLE.read_bytes() == CONTENT
    asked = archive.requests[1][1]
    assert int(asked.removeprefix("bytes=").removesuffix("-")) > 5
    assert [note for note in progress.notes if "too slow" in note]


def test_a_slow_description_is_given_up(archive, progress):
    archive.faults["record.json"] = Fault(times=99, drip="body")
    with pytest.raises(DataError, match="the server is too slow"):
        read_url(archive.url + "record.json", progress, HURRIED)


def test_a_byte_for_each_connection_is_no_progress(archive, file, progress):
    """Each try brings something, and all of them nothing much: they do not go on for ever."""
    archive.faults["x.npy"] = Fault(times=999, cut_at=1)
    patience = Patience(sleep=lambda _: time.sleep(0.01), timeout=5.0, least_rate=10_000.0)
    said = failing(file, progress, patience)
    assert "6 tries in a row" in said
    assert len(archive.requests) < 20


# --- links ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [PART, WHOLE])
def test_a_link_is_not_followed(archive, file, progress, clock, tmp_path, name):
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    name.symlink_to(precious)
    download(file, WHOLE, progress, clock.patience())
    assert precious.read_text() == "mine"
    assert WHOLE.read_bytes() == CONTENT
    assert not WHOLE.is_symlink()
