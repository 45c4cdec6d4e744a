"""What a run found."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from datk.cli.console import output
from datk.runs.metrics import metrics_of
from datk.runs.result import RunResult


def show_result(result: RunResult) -> None:
    """Metrics on both domains, and where the run is."""
    cells = {
        domain: {name: _number(value, name) for name, value in parts["test"].items()}
        for domain, parts in result.metrics.items()
        if "test" in parts
    }
    _metrics_table(f"{result.align_and_reg} on {result.pair}, seed {result.seed}", cells, result.task)
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


def show_seeds(results: Sequence[RunResult], summary: dict[str, Any]) -> None:
    """Mean and deviation over seeds."""
    cells = {
        domain: {name: _mean_and_deviation(value, name) for name, value in parts["test"].items()}
        for domain, parts in summary.items()
        if "test" in parts
    }
    first = results[0]
    seeds = ", ".join(str(result.seed) for result in results)
    _metrics_table(
        f"{first.align_and_reg} on {first.pair}, mean ± standard deviation over seeds {seeds}",
        cells,
        first.task,
    )
    for note in dict.fromkeys(note for result in results for note in result.notes):
        output().print(Text(f"note: {note}", style="yellow"))


def _metrics_table(title: str, cells: dict[str, dict[str, str]], task: str) -> None:
    output().print(Text(f"\n{title}", style="bold"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("test split")
    for domain in cells:
        table.add_column(domain, justify="right")
    titles = {name: metric.title for name, metric in metrics_of(task).items()}
    found = dict.fromkeys(name for column in cells.values() for name in column)
    # What the task does not list, such as the error of each of several numbers, comes after what it does.
    for name in [
        *(known for known in titles if known in found),
        *(found.keys() - titles.keys() - {"n"}),
        "n",
    ]:
        shown = "rows" if name == "n" else titles.get(name, name)
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
