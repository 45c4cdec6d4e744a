"""What a run found."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from datk.base.errors import RunError
from datk.cli.console import alarm_line, output, show_whole
from datk.cli.streams import say
from datk.interfaces import Metric
from datk.runs.baseline import gains
from datk.runs.metrics import domain_order, metric_named, metric_text, metrics_of, ordered, several_numbers
from datk.runs.result import RunResult
from datk.runs.seeds import Statistics, summarize
from datk.runs.verdict import accuracy_gain

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
    which = (
        f"epoch {result.selected_epoch} of {result.epochs}" if result.selected_epoch else "an epoch of each"
    )
    console.print(
        f"{which}, chosen by {result.selected_by}; "
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


def show_baseline(results: Sequence[RunResult]) -> None:
    """The runs beside their source-only baselines, and the difference, paired by seed."""
    baselines = [result.baseline for result in results if result.baseline is not None]
    metrics = metrics_of(results[0].task)
    if len(baselines) < len(results) or not metrics:
        return
    name, metric = next(iter(metrics.items()))
    difference = gains(results, name)
    rows = {
        "source-only": _of_domains(summarize(baselines), name),
        results[0].align_and_reg: _of_domains(summarize(results), name),
        "difference": difference,
    }
    table = Table(box=box.SIMPLE_HEAD)
    seeds = f", mean ± standard deviation over {len(results)} seeds" if len(results) > 1 else ""
    table.add_column(f"{metric.title}, test split{seeds}", no_wrap=True)
    domains = domain_order(difference)
    for domain in domains:
        table.add_column(domain, justify="right", no_wrap=True)
    for row, found in rows.items():
        sign = "+" if row == "difference" else ""
        texts = (_cell(name, metric, *found[domain]) for domain in domains)
        table.add_row(row, *(f"{sign}{text}" if text[:1].isdecimal() else text for text in texts))
    show_whole(table)
    if results[0].classes and "target" in difference:
        output().print(_gain_text(results, baselines))


def _gain_text(results: Sequence[RunResult], baselines: Sequence[RunResult]) -> str:
    try:
        gain = accuracy_gain(results, baselines)
    except RunError as error:  # what an earlier version trained has no outputs
        return f"no interval of the difference: {error}"
    of = f"{gain.rows} rows and {gain.seeds} seeds" if gain.seeds > 1 else f"{gain.rows} rows, of one seed"
    return f"target accuracy gained: {gain}, an interval of 95 % over {of}"


def _of_domains(summary: Statistics, name: str) -> Found:
    return {
        domain: (found["mean"], found["std"])
        for domain, parts in summary.items()
        if (found := parts.get("test", {}).get(name)) is not None
    }


def _show_alarms(results: Sequence[RunResult]) -> None:
    """The alarms; of several runs those of each kind once, as the first run has them, with their number."""
    for code in dict.fromkeys(alarm.code for result in results for alarm in result.alarms):
        raised = [found for result in results if (found := [a for a in result.alarms if a.code == code])]
        count = f"in {len(raised)} of {len(results)} runs; in the first of them " if len(results) > 1 else ""
        for alarm in raised[0]:
            output().print(alarm_line(code, count + alarm.message))


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
