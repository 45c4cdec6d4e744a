"""What the command line shows: progress, tables. The only module that imports rich."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from datk.plugins import KINDS, Kind, Plugin
from datk.report import METRIC_TITLES, LineReporter, Reporter, terms_text

TYPE_CHECKING = False
if TYPE_CHECKING:  # these import torch, which `datk plugins` must not
    from datk.describe import Option
    from datk.runs import RunResult

METRICS = METRIC_TITLES | {"n": "images"}


def output() -> Console:
    """The console of results."""
    return Console(highlight=False, markup=False)


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
        self.console = Console(stderr=True, highlight=False, markup=False)
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

    def advanced(self, step: int) -> None:
        """Move the bar."""
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
                f"validation accuracy {record['validation_accuracy']:.3f}"
            ),
        )

    def note(self, text: str) -> None:
        """Show the note above the bar."""
        self.console.print(Text(f"note: {text}", style="yellow"))

    def stopped(self) -> None:
        """Leave the bar as it is."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


class StderrReporter(LineReporter):
    """Plain lines where there is no terminal."""

    def write(self, line: str) -> None:
        """Show one line."""
        print(line, file=sys.stderr, flush=True)


def reporters(quiet: bool) -> list[Reporter]:
    """How progress is shown here."""
    if quiet:
        return []
    return [BarReporter() if sys.stderr.isatty() else StderrReporter()]


# --- results -------------------------------------------------------------------------------------------


def show_result(result: "RunResult") -> None:
    """Metrics on both domains, and where the run is."""
    cells = {
        domain: {name: _number(value, name) for name, value in parts["test"].items()}
        for domain, parts in result.metrics.items()
        if "test" in parts
    }
    _metrics_table(f"{result.align_and_reg} on {result.pair}, seed {result.seed}", cells)
    console = output()
    console.print(
        f"epoch {result.selected_epoch} of {result.epochs}, chosen by {result.selected_by}; "
        f"split {result.split}; {result.seconds:.0f} s on {result.device}"
    )
    for note in result.notes:
        console.print(Text(f"note: {note}", style="yellow"))


def show_folder(path: Path) -> None:
    """Name the run folder, unwrapped so that it can be copied."""
    print(f"run folder: {path}")


def show_seeds(results: Sequence["RunResult"], summary: dict[str, Any]) -> None:
    """Mean and deviation over seeds."""
    cells = {
        domain: {name: _mean_and_deviation(value, name) for name, value in parts["test"].items()}
        for domain, parts in summary.items()
        if "test" in parts
    }
    first = results[0]
    seeds = ", ".join(str(result.seed) for result in results)
    _metrics_table(
        f"{first.align_and_reg} on {first.pair}, mean ± standard deviation over seeds {seeds}", cells
    )
    for note in dict.fromkeys(note for result in results for note in result.notes):
        output().print(Text(f"note: {note}", style="yellow"))


def _metrics_table(title: str, cells: dict[str, dict[str, str]]) -> None:
    output().print(Text(f"\n{title}", style="bold"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("test split")
    for domain in cells:
        table.add_column(domain, justify="right")
    for name, shown in METRICS.items():
        table.add_row(shown, *(column.get(name, "") for column in cells.values()))
    output().print(table)


def _number(value: float | None, name: str) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if name == "n" else f"{value:.3f}"


def _mean_and_deviation(value: dict[str, float | None], name: str) -> str:
    if name == "n" or value["std"] is None:
        return _number(value["mean"], name)
    return f"{_number(value['mean'], name)} ± {value['std']:.3f}"


# --- plugins -------------------------------------------------------------------------------------------


def show_plugins(plugins: dict[Kind, list[Plugin]]) -> None:
    """A table of everything installed, kind by kind."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("kind", "name", "summary", "distribution"):
        table.add_column(column, overflow="fold")
    for kind in KINDS:
        for number, plugin in enumerate(plugins[kind]):
            table.add_row("" if number else kind, plugin.name, plugin.summary, plugin.dist)
    output().print(table)


def show_component(plugin: Plugin, docstring: str, options: "Sequence[Option]") -> None:
    """A component's docstring and its options."""
    show_text(plugin, docstring)
    console = output()
    if not options:
        console.print("  no options")
        return
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("option", "type", "default", "meaning"):
        table.add_column(column, overflow="fold")
    for option in options:
        table.add_row(option.name, option.type, option.default, option.meaning)
    console.print(table)
    section = {"alignment": "align", "regularizer": "reg"}.get(plugin.kind, plugin.kind)
    prefix = f"{section}.{plugin.label}" if section in ("align", "reg") else section
    console.print(f"  set an option with --set {prefix}.{options[0].name}=value")


def show_file(plugin: Plugin) -> None:
    """A recipe or suite, as it is."""
    _heading(output(), plugin)
    print("\n" + Path(plugin.target).read_text(encoding="utf-8", errors="replace"), end="")


def show_text(plugin: Plugin, text: str) -> None:
    """What a plugin says of itself."""
    console = output()
    _heading(console, plugin)
    console.print(Padding(Text(text.strip()), (1, 2)))


def show_checks(plugin: Plugin, checks: Iterable[tuple[str, str | None]]) -> bool:
    """Conformance checks as they are made; whether all passed."""
    console = output()
    _heading(console, plugin)
    good = True
    for name, fault in checks:
        style, mark = ("green", "ok  ") if fault is None else ("red", "FAIL")
        console.print(
            Text.assemble(("  " + mark + "  ", style), name if fault is None else f"{name}: {fault}")
        )
        good &= fault is None
    return good


def _heading(console: Console, plugin: Plugin) -> None:
    origin = plugin.dist or plugin.target.rpartition(":")[0]
    console.print(Text.assemble((f"{plugin.kind} {plugin.label}", "bold"), f" ({origin})"))
