"""What a run tells while it goes on. The command line shows it with rich; log.txt keeps it as plain lines."""

import warnings
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from datk.base.files import append_line
from datk.base.numbers import number_text
from datk.base.text import one_line


class Reporter:
    """Says nothing; a subclass overrides what it shows."""

    def started(self, title: str, epochs: int, steps: int) -> None:
        """A run begins: epochs, and steps in all."""

    def planned(self, epochs: int, steps: int) -> None:
        """It will be another number of epochs, and of steps in all (`train.time_budget`)."""

    def advanced(self, step: int) -> None:
        """A step is done (counted from 1 over the whole run)."""

    def stepped(self, record: dict[str, Any]) -> None:
        """A log step: mean loss and terms since the last one."""

    def epoch_ended(self, record: dict[str, Any]) -> None:
        """An epoch is done: validation loss and accuracy, whether it is the best so far."""

    def note(self, text: str) -> None:
        """Something the user should know."""

    def alarm(self, code: str, message: str) -> None:
        """A sign that a number misleads or that adaptation does harm, see `datk.runs.alarms`; a note unless a
        subclass shows it otherwise."""
        self.note(alarm_text(code, message))

    def stopped(self) -> None:
        """The run ended, well or not."""


def alarm_text(code: str, message: str) -> str:
    """An alarm on a line."""
    return f"ALARM {code}: {message}"


def terms_text(record: dict[str, Any]) -> str:
    """The terms of the loss on a line, for instance `classification 0.41  mmd 0.23`."""
    return "  ".join(f"{name} {value:.4f}" for name, value in record["terms"].items())


def score_text(record: dict[str, Any]) -> str:
    """What the task thinks of an epoch, for instance `accuracy 0.712`; a dash where that is not defined."""
    (name,) = (key for key in record if key.startswith("validation_") and key != "validation_loss")
    value = record[name]
    score = "–" if value is None else number_text(value, any_size=abs(value) < 1e-3)
    return f"{name.removeprefix('validation_')} {score}"


def epoch_text(record: dict[str, Any], terms: dict[str, Any] | None) -> str:
    """An epoch on a line."""
    loss = f"validation loss {record['validation_loss']:.4f}"
    text = f"epoch {record['epoch']:>3}  {loss}  {score_text(record)}"
    return f"{text}  |  {terms_text(terms)}" if terms else text


class LineReporter(Reporter):
    """A line per epoch and per note."""

    def __init__(self) -> None:
        self.last: dict[str, Any] | None = None

    def write(self, line: str) -> None:
        """Show one line."""
        print(one_line(line), flush=True)

    def started(self, title: str, epochs: int, steps: int) -> None:
        """Name the run."""
        self.write(f"{title}: {epochs} epochs, {steps} steps")

    def stepped(self, record: dict[str, Any]) -> None:
        """Remember the terms for the epoch's line."""
        self.last = record

    def epoch_ended(self, record: dict[str, Any]) -> None:
        """Show the epoch."""
        self.write(epoch_text(record, self.last))

    def note(self, text: str) -> None:
        """Show the note."""
        self.write(text)


class FileReporter(LineReporter):
    """Appends to log.txt, each line with its time."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def write(self, line: str) -> None:
        """Append one line."""
        stamp = datetime.now().astimezone().isoformat(timespec="seconds")
        append_line(self.path, f"{stamp} {one_line(line)}")


class Reporters:
    """Several that are told the same. One that fails, for instance because its terminal is gone or the disk
    of its log is full, is told nothing more: a warning and the others say so, and the run goes on."""

    def __init__(self, reporters: Sequence[Reporter]) -> None:
        self.reporters = list(reporters)

    def tell(self, event: str, *arguments: Any) -> None:
        """Call the method `event` of each."""
        failed = []
        for reporter in list(self.reporters):
            try:
                getattr(reporter, event)(*arguments)
            except Exception as error:  # whatever it shows, training does not depend on it
                self.reporters.remove(reporter)
                failed.append(f"{type(reporter).__name__} is told nothing more of this run: {error!r}")
                if event != "stopped":
                    with suppress(Exception):
                        reporter.stopped()
        for text in failed:
            warnings.warn(text, stacklevel=2)
            self.tell("note", text)
