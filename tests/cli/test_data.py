"""`datk data list`, `show`, `fetch` and `mock`, on a pair that is installed for the test."""

import io
import json
import signal
import threading

import numpy as np
import pytest

from datk.cli.console import data as console
from tests.data.published.record_server import ROWS, Archive, Fault, arrays, entry, record_for, write

PAIR = '''
import json
from pathlib import Path

import numpy as np

from datk.interfaces import DataError, DomainPair, Record, RecordFile
from tests.data.published.record_server import arrays, entry, write


def mock(folder, scale, seed):
    if seed == 13:
        (folder / "half").write_text("made")
        raise OSError("the pen broke")
    write(folder, {key: array[: round(20 * scale)] for key, array in arrays(seed).items()})
    (folder / "record.json").write_text(json.dumps(entry(folder, mock=True)))


class Sky(DomainPair):
    """A tiny sky, seen twice."""

    notes = ("the sky is not real",)
    record = RECORD

    def __init__(self, config):
        raise DataError("not needed here")

    def answers(self, rows):
        return None


class Free(Sky):
    """A sky that needs no file."""

    record = None
'''


@pytest.fixture
def published(tmp_path):
    return write(tmp_path / "published", arrays())


@pytest.fixture
def archive(published):
    archive = Archive(published)
    yield archive
    archive.close()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch, install, archive, published):
    """The pairs tiny-sky and free-sky, and where fetched data go."""
    text = repr(record_for(published, arrays(), archive.url + "record.json"))
    text = text[: text.index(", prepare=")].replace("np.float64", "") + ", mock=mock)"
    pairs = {"tiny-sky": "skies:Sky", "free-sky": "skies:Free"}
    install("skies", {"datk.pairs": pairs}, skies=PAIR.replace("RECORD", text))
    monkeypatch.setenv("DATK_PLUGINS", "skies")
    monkeypatch.setenv("DATK_DATA_DIR", str(tmp_path / "home"))
    return tmp_path / "home" / "tiny-sky"


def row(datk, pair):
    return next(line for line in datk("data", "list").out.splitlines() if pair in line)


def test_the_list_says_what_is_here(datk, home):
    assert "A tiny sky, seen twice." in row(datk, "tiny-sky")
    assert "62.3 kB" in row(datk, "tiny-sky")
    assert "not fetched" in row(datk, "tiny-sky")
    assert "none needed" in row(datk, "free-sky")
    datk("data", "mock", "tiny", "--out", "m", "--scale", "1")
    datk("data", "fetch", "tiny-sky", "--from", "m")
    assert row(datk, "tiny-sky").split()[-1] == "mock"
    datk("data", "fetch", "tiny-sky", "--force")
    assert row(datk, "tiny-sky").split()[-1] == "fetched"
    (home / "data.h5").write_bytes(b"")
    assert row(datk, "tiny-sky").split()[-1] == "damaged"


def test_show_before_and_after(datk, home, archive):
    before = datk("data", "show", "tiny-sky").out
    for part in ("a tiny sky", "Nobody (2020)", archive.url, "SX.npy, 30.8 kB", "the sky is not real"):
        assert part in before
    assert f"not fetched into {home}" in before
    assert "datk data fetch tiny-sky (62.3 kB to download)" in before
    datk("data", "fetch", "tiny-sky")
    after = datk("data", "show", "tiny-sky").out
    for part in (f"{home / 'data.h5'}", "source/x: 20 x 3 x 8 x 8 float32", "licence: cc-by-4.0"):
        assert part in after
    assert "as it was when it was fetched" in after
    assert "MOCK" not in after
    content = bytearray((home / "data.h5").read_bytes())
    content[-1] ^= 1
    (home / "data.h5").write_bytes(content)
    assert "the file has changed" in datk("data", "show", "tiny-sky").out


def test_show_of_a_pair_without_a_record(datk):
    shown = datk("data", "show", "free-sky").out
    assert "A sky that needs no file." in shown
    assert "datk plugins show free-sky" in shown


def test_fetch_says_what_was_verified_and_what_is_next(datk, home):
    outcome = datk("data", "fetch", "tiny-sky")
    assert outcome.code == 0, outcome.err
    for part in (
        f"{home / 'data.h5'}",
        "source/y: 20 int64",
        "verified: size and md5 of 4 files; values finite, labels whole; "
        "mean and deviation of source/x, target/x as published",
        "datk data audit tiny-sky",
        "datk run --pair tiny-sky",
    ):
        assert part in outcome.out
    assert "downloading SX.npy: 30.8 kB" in outcome.err
    assert "converting" in outcome.err
    again = datk("data", "fetch", "tiny-sky")
    assert (again.code, again.err) == (0, "")
    assert "there already; --force" in again.out


def test_fetch_from_a_bare_folder_says_that_checksums_are_unknown(datk, published):
    assert (
        "size (checksums are unknown) of 4 files"
        in datk("data", "fetch", "tiny-sky", "--from", published).out
    )


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["fetch", "tiny-skies"], "did you mean 'tiny-sky'?"),
        (["show", "tiny-skies"], "did you mean 'tiny-sky'?"),
        (["fetch", "free-sky"], "needs no published data"),
        (["fetch", "tiny-sky", "--from", "nowhere"], "nowhere is not there; --from names"),
        (["mock", "tinny", "--out", "m"], "did you mean 'tiny'?"),
        (["mock", "tiny", "--out", "published"], "published is not empty"),
        (["mock", "tiny", "--out", "published/SX.npy"], "is not empty"),
        (["mock", "tiny", "--out", "m", "--seed", "13"], "the pen broke"),
        (["mock", "tiny", "--out", "m", "--scale", "0"], "--scale"),
        (["mock", "tiny"], "--out"),
    ],
)
def test_mistakes_exit_with_2_and_one_line(datk, tmp_path, arguments, part):
    outcome = datk("data", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert part in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "m").exists()


def test_a_mock_says_how_to_use_it(datk, home, tmp_path):
    outcome = datk("data", "mock", "tiny", "--out", "m", "--scale", "0.5", "--seed", "3")
    assert outcome.code == 0, outcome.err
    assert "datk data fetch tiny-sky --from m" in outcome.out
    fetched = datk("data", "fetch", "tiny-sky", "--from", "m")
    assert fetched.code == 0, fetched.err
    assert "MOCK" in fetched.out
    manifest = json.loads((home / "manifest.json").read_text())
    assert (manifest["mock"], manifest["datasets"]["source/x"]["shape"][0]) == (True, ROWS // 2)
    assert np.load(tmp_path / "m" / "SX.npy").shape[0] == ROWS // 2
    refused = datk("data", "fetch", "tiny-sky")
    assert refused.code == 2
    assert "holds a mock of tiny-sky" in refused.err


def test_ctrl_c_exits_with_130_and_the_same_command_goes_on(datk, archive, home):
    archive.faults["SX.npy"] = Fault(
        called=lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    )
    outcome = datk("data", "fetch", "tiny-sky")
    assert outcome.code == 130
    assert "interrupted; the same command goes on" in outcome.err
    assert (home / "SX.npy.part").stat().st_size > 0
    assert datk("data", "fetch", "tiny-sky").code == 0
    assert any(name == "SX.npy" and wanted for name, wanted in archive.requests)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_on_a_terminal(datk, archive, monkeypatch):
    archive.faults["SX.npy"] = Fault(status=503, headers={"Retry-After": "0"})
    terminal = Terminal()
    bars = console.BarProgress()
    bars.bars.console.file = terminal
    monkeypatch.setattr(console, "progress", lambda: bars)
    outcome = datk("data", "fetch", "tiny-sky")
    assert outcome.code == 0, outcome.err
    assert "note: the server says 503" in terminal.getvalue()
    assert "checksum" in terminal.getvalue()


def test_lines_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 0)
    lines = console.progress()
    assert isinstance(lines, console.LineProgress)
    lines.begin("downloading x.npy", 4000, 1000)
    lines.advance(1000)
    lines.note("the server fell silent")
    assert capsys.readouterr().err.splitlines() == [
        "downloading x.npy: 4.0 kB, from 1.0 kB on",
        "downloading x.npy: 50% of 4.0 kB",
        "note: the server fell silent",
    ]


def test_a_record_on_a_server_is_fetched_by_its_url(datk, archive, published):
    archive.text = json.dumps(entry(published, mock=True))
    outcome = datk("data", "fetch", "tiny-sky", "--from", f"{archive.url}record.json")
    assert outcome.code == 0, outcome.err
    assert f"from {archive.url}record.json" in outcome.out
