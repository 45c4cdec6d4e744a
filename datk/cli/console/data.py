"""What `datk data` shows of published data: tables, and the progress of a fetch."""

import sys
import time
from collections.abc import Iterable
from pathlib import Path

from rich import box
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from datk.cli.console import errors, output
from datk.cli.streams import say
from datk.data.published.catalog import ListedPair
from datk.data.published.fetch import Fetched, fetched, state
from datk.data.published.progress import Progress
from datk.data.published.records import Record, data_folder, size_text

SECONDS_BETWEEN_LINES = 10


class BarProgress(Progress):
    """A bar on a terminal, for one part of the work after the other."""

    def __init__(self) -> None:
        self.bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=errors(),
        )
        self.task = self.bars.add_task("", start=False)

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """Start the bar anew."""
        self.bars.start()
        self.bars.reset(self.task, total=total, completed=done, description=escape(what))

    def advance(self, size: int) -> None:
        """Move the bar."""
        self.bars.advance(self.task, size)

    def note(self, text: str) -> None:
        """Show the note above the bar."""
        self.bars.console.print(Text(f"note: {text}", style="yellow"))

    def stop(self) -> None:
        """Leave the bar as it is."""
        self.bars.stop()


class LineProgress(Progress):
    """Plain lines on standard error: a part of the work, and every ten seconds how far it is."""

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """Name the part."""
        self.what, self.total, self.done, self.last = what, total, done, time.monotonic()
        self._write(f"{what}: {size_text(total)}" + (f", from {size_text(done)} on" if done else ""))

    def advance(self, size: int) -> None:
        """Say how far it is, now and then."""
        self.done += size
        if time.monotonic() - self.last >= SECONDS_BETWEEN_LINES:
            self.last = time.monotonic()
            self._write(f"{self.what}: {self.done / self.total:.0%} of {size_text(self.total)}")

    def note(self, text: str) -> None:
        """Show the note."""
        self._write(f"note: {text}")

    def _write(self, line: str) -> None:
        say(line, err=True)


def progress() -> Progress:
    """How the progress of a fetch is shown here."""
    return BarProgress() if sys.stderr.isatty() else LineProgress()


def show_pairs(pairs: Iterable[ListedPair]) -> None:
    """A table of all pairs and what there is of their data."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("pair", "summary", "download", "data"):
        table.add_column(column, overflow="fold")
    for pair in pairs:
        size, there = (
            ("", "none needed") if pair.record is None else (size_text(pair.record.size), state(pair.record))
        )
        table.add_row(pair.name, pair.summary, size, there)
    output().print(table)


def show_pair(pair: ListedPair) -> None:
    """The published data of a pair, and what there is of them."""
    if pair.record is None:
        lines = [pair.summary, f"needs no download; its options: datk plugins show {pair.name}"]
    else:
        lines = [pair.record.title, *_record(pair.record), *(f"note: {note}" for note in pair.notes)]
    output().print(Text(pair.name, style="bold"))
    for line in lines:
        say(f"  {line}")


def _record(record: Record) -> Iterable[str]:
    yield f"reference: {record.reference}"
    yield f"record: {record.url}"
    for key, file in record.files.items():
        yield f"{key}: {file.name}, {size_text(file.size)}"
    there = fetched(record)
    if there is None:
        yield f"not fetched into {data_folder() / record.name}"
        yield f"fetch it with: datk data fetch {record.name} ({size_text(record.size)} to download)"
        return
    yield from _fetched(there)
    if there.intact:
        yield "checksum: the file is as it was when it was fetched"
    else:
        yield f"checksum: the file has changed; fetch it again with: datk data fetch {record.name} --force"


def _fetched(there: Fetched) -> Iterable[str]:
    manifest = there.manifest
    if there.mock:
        yield "MOCK: made up by datk data mock, not the published data"
    yield f"data: {there.path}, {size_text(manifest['size'])}"
    yield f"fetched: {manifest['date']} from {manifest['from']}"
    for key, dataset in manifest["datasets"].items():
        yield f"{key}: {' x '.join(map(str, dataset['shape']))} {dataset['dtype']}"
    yield f"licence: {manifest['record']['licence'] or 'unknown'}"


def show_fetched(record: Record, there: Fetched, new: bool) -> None:
    """What was fetched, what was verified, and what to do next."""
    if not new:
        say(f"{record.name} is there already{' (a mock)' if there.mock else ''}; --force fetches it again")
    for line in _fetched(there):
        say(line)
    say(f"verified: {_verified(there)}")
    say(f"next: datk data audit {record.name}")
    say(f"      datk run --pair {record.name}")


def _verified(there: Fetched) -> str:
    algorithms = {(file["checksum"] or "").partition(":")[0] for file in there.manifest["files"]} - {""}
    known = f"size and {', '.join(sorted(algorithms))}" if algorithms else "size (checksums are unknown)"
    compared = there.manifest["compared"]
    moments = f"; mean and deviation of {', '.join(compared)} as published" if compared else ""
    return f"{known} of {len(there.manifest['files'])} files; values finite, labels whole{moments}"


def show_mock(folder: Path, names: Iterable[str]) -> None:
    """Where the mock is, and how its pairs come to use it."""
    say(f"mock: {folder}")
    for name in names:
        say(f"next: datk data fetch {name} --from {folder}")
