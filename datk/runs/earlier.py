"""Runs that an earlier version began: its defaults hold where nothing else is said."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from datk.config import merge
from datk.config.models import Options
from datk.config.resolve import Experiment, defaults, resolve


def has_former_defaults(path: Path) -> bool:
    """Whether a version with the defaults of `datk.config.models.FORMER` wrote a run's config.json, in which
    later ones say how samples are standardised. Raises `ConfigError` if the file cannot be read."""
    data = merge.read_file(path / "config.json").get("data", {})
    return isinstance(data, dict) and "standardize" not in data


def with_defaults_of(experiment: Experiment, recorded: Experiment) -> Experiment:
    """An experiment with the options of a recorded one wherever it has today's defaults."""
    config = experiment.config.model_dump(mode="json")
    begun = _filled(config, defaults(experiment), recorded.config.model_dump(mode="json"))
    filled = resolve(config={**begun, "pair": config["pair"]}, to_run=False)
    return replace(filled, pair=experiment.pair)  # with arrays in memory, which no configuration holds


def _filled(options: Options, default: Options, recorded: Options) -> Options:
    filled: dict[str, Any] = {}
    for key, value in options.items():
        before, usual = recorded.get(key, value), default.get(key)
        if isinstance(value, dict) and isinstance(usual, dict) and isinstance(before, dict):
            filled[key] = _filled(value, usual, before)
        else:
            filled[key] = before if value == usual else value
    return filled
