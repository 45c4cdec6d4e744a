"""Progress of a run."""

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from datk.cli.console import alarm_line, errors
from datk.cli.streams import say
from datk.training.report import LineReporter, Reporter, score_text, terms_text


class _Bar(Progress):
    """A progress bar with the terms of the loss on a line of their own."""

    terms = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.terms:
            yield Text(f"  {self.terms}", style="dim")


class BarReporter(Reporter):
    """A progress bar on a terminal."""

    def __init__(self) -> None:
        self.console = errors()
        self.bar: _Bar | None = None

    def started(self, title: str, epochs: int, steps: int) -> None:
        """Show the bar."""
        self.console.print(Text(title, style="bold"))
        self.epochs = epochs
        self.bar = _Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self.task = self.bar.add_task(f"epoch 1/{epochs}", total=steps)
        self.bar.start()

    def planned(self, epochs: int, steps: int) -> None:
        """Let the bar end there."""
        assert self.bar is not None
        self.epochs = epochs
        self.bar.update(self.task, total=steps)

    def advanced(self, step: int) -> None:
        """Move the bar."""
        _demand_heard()
        assert self.bar is not None
        self.bar.update(self.task, completed=step)

    def stepped(self, record: dict[str, Any]) -> None:
        """Show the terms."""
        assert self.bar is not None
        self.bar.terms = terms_text(record)

    def epoch_ended(self, record: dict[str, Any]) -> None:
        """Show the epoch."""
        assert self.bar is not None
        self.bar.update(
            self.task,
            completed=record["step"],
            description=(
                f"epoch {min(record['epoch'] + 1, self.epochs)}/{self.epochs}  "
                f"validation {score_text(record)}"
            ),
        )

    def note(self, text: str) -> None:
        """Show the note above the bar."""
        self.console.print(Text(f"note: {text}", style="yellow"))

    def alarm(self, code: str, message: str) -> None:
        """Show the alarm above the bar."""
        self.console.print(alarm_line(code, message))

    def stopped(self) -> None:
        """Leave the bar as it is."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def _demand_heard() -> None:
    """Raise the `OSError` that the error stream was lost by, so that log.txt tells of it."""
    lost = getattr(sys.stderr, "lost", None)
    if lost is not None:
        raise lost


class StderrReporter(LineReporter):
    """Plain lines where there is no terminal."""

    def write(self, line: str) -> None:
        """Show one line."""
        say(line, err=True)
        _demand_heard()


def reporters(quiet: bool) -> list[Reporter]:
    """How progress is shown here."""
    if quiet:
        return []
    return [BarReporter() if sys.stderr.isatty() else StderrReporter()]
