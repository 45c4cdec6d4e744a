"""What the command line shows. The only room that knows rich."""

from rich.console import Console
from rich.table import Table


def output() -> Console:
    """The console of results."""
    return Console(highlight=False, markup=False)


def show_whole(table: Table) -> None:
    """Print a table, wider than the terminal if need be: cut numbers would be worse than long lines."""
    width = max(output().width, Console(width=1000).measure(table).maximum)
    Console(width=width, highlight=False, markup=False).print(table)
