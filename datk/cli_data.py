"""`datk data`: published data of the pairs, and what is wrong with any data."""

import click


@click.group("data")
def data() -> None:
    """Fetch published data; look for faults in any data."""
