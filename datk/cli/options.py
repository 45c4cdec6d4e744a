"""Flags that several commands share."""

import re
from collections.abc import Callable
from typing import Any

import click

from datk.base.errors import ConfigError

Command = Callable[..., Any]


def composition(command: Command) -> Command:
    """The flags that choose what is run."""
    for option in reversed(
        [
            click.option("--backbone", metavar="NAME", help="Network, such as mlp.  [default: by the data]"),
            click.option(
                "--align", metavar="NAMES", help="Alignment, or several: mmd,coral. none is source only."
            ),
            click.option("--reg", metavar="NAMES", help="Regularizers: fisher,entropy."),
            click.option("--pair", metavar="NAME", help="Domain pair; arrays reads your own files."),
            click.option("--recipe", metavar="NAME", help="A recipe's options, by name or .toml file."),
            click.option("--config", metavar="FILE", help="Options from a TOML or JSON file."),
            click.option(
                "--set", "overrides", metavar="KEY=VALUE", multiple=True, help="One option; repeatable."
            ),
            click.option("--init", metavar="RUN", help="Start from the weights of another run folder."),
            click.option("--seed", metavar="N[,N...]", help="Seed; several (0,1,2 or 0-4) make a run each."),
            click.option("--epochs", type=int, metavar="N", help="Passes over the source images."),
            click.option("--time-budget", metavar="TIME", help="Train no longer than 90s, 30m or 2h."),
            click.option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps."),
        ]
    ):
        command = option(command)
    return command


def parse_seeds(text: str | None) -> list[int] | None:
    """Seeds of `0`, `0,1,2` or `0-4`, in order. Raises `ConfigError` for another form or a repetition."""
    if text is None:
        return None
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,18})(?:-(\d{1,18}))?\s*", part)
        if not match or int(match[2] or match[1]) - int(match[1]) not in range(10_000):
            raise ConfigError(f"--seed {text}: write a whole number, a list 0,1,2 or a range 0-4")
        seeds += range(int(match[1]), int(match[2] or match[1]) + 1)
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seed {text}: a seed is named twice")
    return seeds
