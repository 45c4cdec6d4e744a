"""What is installed, and what a component is."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from datk.cli.console import output
from datk.cli.streams import say
from datk.config.plugins import KINDS, Kind, Plugin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datk.config.describe import Option


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
    # Whole, however long: it is there to be copied.
    console.print(f"  set an option with --set {_setting(plugin, options[0].name)}", soft_wrap=True)


def _setting(plugin: Plugin, option: str) -> str:
    """What `--set` takes for an option of a component."""
    if plugin.kind in ("task", "selector"):
        section = "task" if plugin.kind == "task" else "train.select"
        return f"'{section}={{name = \"{plugin.reference}\", {option} = value}}'"
    section = {"alignment": "align", "regularizer": "reg"}.get(plugin.kind, plugin.kind)
    prefix = f"{section}.{plugin.label}" if section in ("align", "reg") else section
    return f"{prefix}.{option}=value"


def show_file(plugin: Plugin) -> None:
    """A recipe or suite, as it is."""
    _heading(output(), plugin)
    say("\n" + Path(plugin.target).read_text(encoding="utf-8", errors="replace"), end="")


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
