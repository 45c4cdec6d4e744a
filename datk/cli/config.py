"""`datk config`: look at configurations."""

from typing import Any

import click

from datk.cli.options import composition, parse_seeds
from datk.cli.streams import say


@click.group("config", no_args_is_help=False)
def config() -> None:
    """Look at configurations."""


@config.command("show")
@composition
def config_show(
    overrides: tuple[str, ...], recipe: str | None, config: str | None, seed: str | None, **selectors: Any
) -> None:
    """Print the resolved configuration as TOML that --config reads."""
    from datk.config.describe import config_toml
    from datk.config.resolve import resolve

    seeds = parse_seeds(seed)
    if seeds is not None:
        selectors["seed"] = seeds[0]
    experiment = resolve(recipe=recipe, config=config, selectors=selectors, overrides=overrides, to_run=False)
    say(config_toml(experiment), end="")
