"""What the command line shows. The only room that knows rich."""

from rich.console import Console


def output() -> Console:
    """The console of results."""
    return Console(highlight=False, markup=False)
