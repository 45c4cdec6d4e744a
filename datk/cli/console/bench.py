"""What `datk bench` shows."""

import re
import threading
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from datk.base.text import one_line
from datk.bench.suite import Suite
from datk.bench.sweep import Outcome
from datk.bench.tables import FilledTable, grid
from datk.cli.console import errors, output, show_whole
from datk.cli.streams import say
from datk.runs.metrics import metric_text, metrics_of


class Progress:
    """A line for every run that ends."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self.lock = threading.Lock()  # runs end in threads of their own
        self.console = errors(soft_wrap=True)

    def tell(self, outcome: Outcome) -> None:
        """Show one outcome."""
        with self.lock:
            self.done += 1
            count = f"[{self.done:>{len(str(self.total))}}/{self.total}]"
            title = f"{outcome.entry.key}, seed {outcome.seed}"
            style = {"failed": "red", "data missing": "yellow"}.get(outcome.status, "")
            self.console.print(Text.assemble(f"{count} {title}: ", (_what(outcome), style)))

    def note(self, text: str) -> None:
        """Show what the user should know."""
        with self.lock:
            self.console.print(Text(one_line(f"note: {text}"), style="yellow"))


def _what(outcome: Outcome) -> str:
    result = outcome.result
    if outcome.status == "data missing":
        return "data missing"  # what to do stands once below the table
    if result is None:
        return one_line(f"{outcome.status}: {outcome.error}")
    again = f" ({outcome.status})" if outcome.status in ("was done", "scored again") else ""
    codes = ", ".join(dict.fromkeys(alarm.code for alarm in result.alarms))
    time = f"{result.seconds:.0f} s{again}" + (f"; ALARM {codes}" if codes else "")
    for name, metric in metrics_of(result.task).items():  # the first says enough
        parts = [
            f"{domain} {metric_text(metric, splits['test'].get(name))}"
            for domain, splits in result.metrics.items()
            if "test" in splits
        ]
        return f"{metric.title} {', '.join(parts)}; {time}"
    return time


def show_tables(suite: Suite, tables: Sequence[FilledTable], page: Path) -> None:
    """The tables, what is not in them, and where they are written."""
    for filled in tables:
        _show(suite, filled)
    say(f"tables: {page} (also .csv and .json)")


def _show(suite: Suite, filled: FilledTable) -> None:
    console = output()
    console.print(Text(f"\n{one_line(filled.table.title)}", style="bold"), soft_wrap=True)
    if filled.lines:
        header, *rows = grid(suite, filled)
        numbers = header.index("domain") + 1 + ("by" in header)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for place, name in enumerate(header):
            table.add_column(name, justify="left" if place < numbers else "right", no_wrap=True)
        for line, row in zip(filled.lines, rows, strict=True):
            shown = [_tight(cell) for cell in row[numbers:-1]]
            table.add_row(*row[:numbers], *shown, row[-1], style=None if line.seeds else "dim")
        show_whole(table)
    console.print(Text(filled.caption), soft_wrap=True)
    for reason in filled.absent:
        console.print(Text(f"not in the table: {reason}", style="yellow"), soft_wrap=True)


def _tight(cell: str) -> str:
    """A number without the 0 before its point, `.712±.004`, and as it is where there is none."""
    return re.sub(r"(?<![\d.])0\.", ".", cell).replace(" ± ", "±")
