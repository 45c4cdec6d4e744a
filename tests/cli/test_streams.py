"""Output that breaks, that cannot show every character, and text that would steer a terminal."""

import errno
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import datk.cli
from datk.cli.streams import SturdyStream

STEERING = "\x1b[2J\x1b]0;title\x07\x9b31m\u202e"


class Broken(io.StringIO):
    """Fails from the given write on."""

    def __init__(self, error, after=0):
        super().__init__()
        self.error, self.left = error, after

    def write(self, text):
        if self.left == 0:
            raise self.error
        self.left -= 1
        return super().write(text)


ERRORS = [BrokenPipeError(errno.EPIPE, "Broken pipe"), OSError(errno.ENOSPC, "No space left on device")]


@pytest.mark.parametrize("error", ERRORS, ids=["pipe", "disk"])
@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("name", ["stderr", "stdout"])
def test_a_lost_stream_does_not_end_a_run(datk, tiny_pair, monkeypatch, name, after, error):
    stream = Broken(error, after)
    monkeypatch.setattr(sys, name, stream)
    assert datk("run", *tiny_pair, "--out", "run").code == 0
    assert json.loads(Path("run/result.json").read_text())["epochs"] == 1
    told = "StderrReporter is told nothing more of this run" in Path("run/log.txt").read_text()
    assert told == (name == "stderr")


def program(*arguments, shell="", **environment):
    """A run of the program under a shell, with what the shell does to its streams."""
    command = " ".join(["exec", sys.executable, "-m", "datk", *map(str, arguments), shell])
    return subprocess.run(
        command, shell=True, capture_output=True, check=False, env=os.environ | environment, timeout=120
    )


@pytest.mark.parametrize("shell", ["2>&-", ">&-", ">&- 2>&-", "2>/dev/full", ">/dev/full"])
def test_streams_that_are_closed_or_full(tiny_pair, shell):
    if "full" in shell and not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    done = program("run", *tiny_pair, "--out", "run", shell=shell)
    assert done.returncode == 0, done
    assert Path("run/result.json").is_file()
    assert Path("run/log.txt").read_text().count("epoch   1") == 1


def test_a_log_that_cannot_be_written_does_not_end_a_run(datk, tiny_pair, monkeypatch):
    def full(path, line):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("datk.training.report.append_line", full)
    outcome = datk("run", *tiny_pair, "--out", "run")
    assert outcome.code == 0
    assert outcome.err.count("warning: FileReporter is told nothing more of this run") == 1
    assert "epoch   1" in outcome.err


def test_the_rest_is_kept_from_a_lost_stream():
    stream = SturdyStream(Broken(BrokenPipeError(), after=1))
    stream.write("first")
    stream.write("second")
    stream.write("third")
    assert isinstance(stream.lost, BrokenPipeError)
    assert stream.stream.getvalue() == "first"
    assert not stream.isatty()


# --- encodings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_any_encoding_shows_a_complete_run(tiny_pair, encoding):
    done = program("run", *tiny_pair, "--seed", "0,1", "--out", "run", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done
    shown = done.stdout.decode(encoding)
    assert re.search(r"accuracy[ |│]+\S+ (\+/-|±) \S+", shown), shown
    assert ("─" in shown) == (encoding == "utf-8")


@pytest.mark.parametrize(
    "arguments", [["plugins"], ["plugins", "show", "mmd"], ["data", "list"], ["config", "show"]]
)
def test_every_page_is_shown_in_ascii(datk, arguments, monkeypatch):
    bytes_ = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(bytes_, encoding="ascii"))
    assert datk(*arguments).code == 0
    assert len(bytes_.getvalue().decode("ascii")) > 100


# --- control characters --------------------------------------------------------------------------------


def harmless(text):
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text), text
    return text


def test_names_of_files_and_arrays_do_not_steer_the_terminal(datk, tiny_pair, tiny_arrays):
    name = f"x{STEERING}"
    np.savez("odd.npz", **{name: tiny_arrays["source_x"]})
    Path(f"file{STEERING}.npz").write_text("no array")
    for change in ("pair.source=odd.npz", f"pair.source=file{STEERING}.npz", f"pair.source={STEERING}.npz"):
        outcome = datk("run", *tiny_pair, "--set", change, "--out", "run")
        assert outcome.code == 2
        assert "\\u001b[2J" in harmless(outcome.err)
        assert outcome.err.count("\n") == 1
    outcome = datk("run", *tiny_pair, "--out", f"run{STEERING}")
    assert outcome.code == 0
    assert "\\u001b[2J" in harmless(outcome.out)
    harmless(outcome.err)


STEERS = f'''
import warnings
from datk.interfaces import AlignmentLoss

class Steers(AlignmentLoss):
    """Says {STEERING!r} where it can."""

    __doc__ = "Moves {{}} the cursor.".format({STEERING!r})

    class Config(AlignmentLoss.Config):
        fails: bool = False
        """Whether it fails {STEERING}."""

    def setup(self, backbone):
        warnings.warn("beware {{}}".format({STEERING!r}))

    def forward(self, source, target, step):
        if self.config.fails:
            raise ValueError({STEERING!r})
        return source.features.sum() * 0
'''


def test_what_a_component_says_does_not_steer_the_terminal(datk, tiny_pair):
    Path("steers.py").write_text(STEERS)
    align = ["--align", "./steers.py:Steers"]
    shown = datk("plugins", "show", "./steers.py:Steers")
    assert shown.code == 0
    assert "\\u001b[2J" in harmless(shown.out)
    harmless(datk("config", "show", *align).out)
    outcome = datk("run", *tiny_pair, *align, "--out", "run")
    assert outcome.code == 0
    assert "beware \\u001b[2J" in harmless(outcome.err)
    failed = datk("run", *tiny_pair, *align, "--set", "align.Steers.fails=true", "--out", "other")
    assert failed.code == 2
    assert "\\u001b[2J" in harmless(failed.err)
    harmless(Path("other/log.txt").read_text())


def test_a_note_is_a_line_of_the_log_that_steers_nothing(datk, tiny_pair):
    Path("noted.py").write_text(
        "from datk_arrays.pair import Arrays\nclass Noted(Arrays):\n"
        "    def __init__(self, config):\n        super().__init__(config)\n"
        f"        self.notes = ('first\\nsecond' + {STEERING!r},)\n"
    )
    outcome = datk("run", *tiny_pair, "--pair", "./noted.py:Noted", "--out", "run")
    assert outcome.code == 0, outcome.err
    harmless(outcome.out + outcome.err)
    log = harmless(Path("run/log.txt").read_text())
    assert "first second\\u001b[2J" in log


def test_commands_say_everything_through_the_safe_ways():
    """`say` and the console of datk.cli.console: a new line of output is safe, too."""
    unsafe = re.compile(r"click\.echo|(?<![.\w])print\(|(?<!Safe)Console\(|sys\.std(out|err)\.write")
    for path in Path(datk.cli.__file__).parent.rglob("*.py"):
        text = path.read_text().replace("class SafeConsole(Console)", "")
        assert not unsafe.search(text), path
