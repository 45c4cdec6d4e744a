"""Lines about a run."""

import re

from datk.training.report import FileReporter, LineReporter, Reporters, epoch_text

EPOCH = {"epoch": 3, "validation_loss": 0.51234, "validation_accuracy": 0.8756}
STEP = {"step": 10, "terms": {"classification": 0.41, "mmd": 0.23}}


def tell_all(reporter):
    reporter.started("mmd on toys", 5, 50)
    reporter.advanced(1)
    reporter.stepped(STEP)
    reporter.epoch_ended(EPOCH)
    reporter.note("something to know")
    reporter.stopped()


def test_an_epoch_on_a_line():
    assert epoch_text(EPOCH, None) == "epoch   3  validation loss 0.5123  accuracy 0.876"
    assert epoch_text(EPOCH, STEP).endswith("|  classification 0.4100  mmd 0.2300")


def test_lines(capsys):
    tell_all(LineReporter())
    assert capsys.readouterr().out.splitlines() == [
        "mmd on toys: 5 epochs, 50 steps",
        "epoch   3  validation loss 0.5123  accuracy 0.876  |  classification 0.4100  mmd 0.2300",
        "something to know",
    ]


def test_the_log_file_keeps_lines_with_their_time(tmp_path):
    path = tmp_path / "log.txt"
    tell_all(FileReporter(path))
    tell_all(FileReporter(path))
    lines = path.read_text().splitlines()
    assert len(lines) == 6
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d \S", line) for line in lines)
    assert lines[5].endswith(" something to know")


def test_all_reporters_are_told():
    class Notes(LineReporter):
        def __init__(self):
            super().__init__()
            self.lines = []

        def write(self, line):
            self.lines.append(line)

    both = Notes(), Notes()
    Reporters(both).tell("note", "hello")
    assert [reporter.lines for reporter in both] == [["hello"], ["hello"]]
