"""What a run found."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from datk.cli.console import output, show_whole
from datk.cli.streams import say
from datk.interfaces import Metric
from datk.runs.metrics import domain_order, metric_named, metric_text, metrics_of, ordered, several_numbers
from datk.runs.result import RunResult

Found = dict[str, tuple[float | None, float | None]]
"""Value and deviation by metric."""

MOST_CLASSES = 12
"""Classes that are shown each on a line."""


def show_result(result: RunResult) -> None:
    """Metrics on both domains, and where the run is."""
    found: dict[str, Found] = {
        domain: {name: (value, None) for name, value in parts["test"].items()}
        for domain, parts in result.metrics.items()
        if "test" in parts
    }
    _metrics_table(f"{result.align_and_reg} on {result.pair}, seed {result.seed}", found, result.task)
    _show_classes([result])
    console = output()
    console.print(
        f"epoch {result.selected_epoch} of {result.epochs}, chosen by {result.selected_by}; "
        f"split {result.split}; {result.seconds:.0f} s on {result.device}"
    )
    for note in result.notes:
        console.print(Text(f"note: {note}", style="yellow"))
    _show_alarms([result])


def show_folder(path: Path) -> None:
    """Name the run folder, unwrapped so that it can be copied."""
    say(f"run folder: {path}")


def show_seeds(results: Sequence[RunResult], summary: dict[str, Any]) -> None:
    """Mean and deviation over seeds."""
    found: dict[str, Found] = {
        domain: {name: (value["mean"], value["std"]) for name, value in parts["test"].items()}
        for domain, parts in summary.items()
        if "test" in parts
    }
    first = results[0]
    seeds = ", ".join(str(result.seed) for result in results)
    _metrics_table(
        f"{first.align_and_reg} on {first.pair}, mean ± standard deviation over seeds {seeds}",
        found,
        first.task,
    )
    _show_classes(results)
    for note in dict.fromkeys(note for result in results for note in result.notes):
        output().print(Text(f"note: {note}", style="yellow"))
    _show_alarms(results)


def _show_alarms(results: Sequence[RunResult]) -> None:
    """Each alarm of the first run that has its kind, with how many runs have it."""
    first = {alarm.code: alarm for result in reversed(results) for alarm in result.alarms}
    for code, alarm in first.items():
        count = sum(any(other.code == code for other in result.alarms) for result in results)
        seeds = f" in {count} of {len(results)} runs" if len(results) > 1 else ""
        output().print(Text(f"alarm ({code}){seeds}: {alarm.message}", style="bold red"))


def _show_classes(results: Sequence[RunResult]) -> None:
    """A row for each class with its rows in each part, if they are the same in all runs, else the names."""
    first, counts = results[0], results[0].class_counts
    if not first.classes:
        return
    parts = [(domain, part) for domain in ("source", "target") for part in counts.get(domain, {})]
    alike = all(result.class_counts == counts for result in results)
    positive = " (positive)"
    if not alike or not parts or len(first.classes) > MOST_CLASSES:
        shown = [name + positive * (name == first.positive) for name in first.classes[:MOST_CLASSES]]
        more = f" and {len(first.classes) - MOST_CLASSES} more" if len(first.classes) > MOST_CLASSES else ""
        output().print(Text(f"classes: {', '.join(shown)}{more}; result.json has the rows of each"))
        return
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("rows of class", no_wrap=True)
    for domain, part in parts:
        table.add_column(f"{domain} {part}", justify="right", no_wrap=True)
    for name in first.classes:
        numbers = (str(counts[domain][part].get(name, 0)) for domain, part in parts)
        table.add_row(name + positive * (name == first.positive), *numbers)
    show_whole(table)


def _metrics_table(title: str, found: dict[str, Found], task: str) -> None:
    """A row for each metric, a column for each domain."""
    output().print(Text(f"\n{title}", style="bold"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("test split", no_wrap=True)
    domains = domain_order(found)
    for domain in domains:
        table.add_column(domain, justify="right", no_wrap=True)
    metrics = metrics_of(task)
    names = ordered(metrics, {name: None for domain in domains for name in found[domain]})
    mean = " (mean)" if several_numbers(names) else ""
    for name in names:
        metric = metric_named(metrics, name)
        shown = "rows" if name == "n" else metric.title + mean * (name in metrics) if metric else name
        cells = (found[domain].get(name) for domain in domains)
        table.add_row(shown, *("" if cell is None else _cell(name, metric, *cell) for cell in cells))
    show_whole(table)


def _cell(name: str, metric: Metric | None, value: float | None, deviation: float | None) -> str:
    if name == "n" and value is not None:
        return f"{value:.0f}"
    return metric_text(metric, value, deviation)
