"""Notifications for plugins: a run started, an epoch ended, a model was evaluated, a run finished.

A plugin lists a module or object in the entry-point group `datk.hooks` and decorates its functions:

    from datk.interfaces import hookimpl

    @hookimpl
    def run_finished(folder, result): ...
"""

import copy
import hashlib
import importlib.metadata
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pluggy

from datk.base import processes
from datk.config import plugins
from datk.config.faults import exception_text

hookspec = pluggy.HookspecMarker("datk")


class Specs:
    """The notifications. An implementation may take any of the arguments."""

    @hookspec
    def run_started(self, folder: Path, config: dict[str, Any]) -> None:
        """Training is about to start in a run folder, with the resolved configuration."""

    @hookspec
    def epoch_ended(self, folder: Path, record: dict[str, Any]) -> None:
        """An epoch ended; `record` is its line in metrics.jsonl."""

    @hookspec
    def evaluated(self, folder: Path, metrics: dict[str, Any]) -> None:
        """The selected model was scored; `metrics` as in result.json."""

    @hookspec
    def run_finished(self, folder: Path, result: dict[str, Any]) -> None:
        """The run is complete; `result` is what result.json holds."""


class Hooks:
    """The installed hook plugins and those of files. One that is installed and cannot be loaded, or one that
    raises, is a warning that names it.

    Args:
        files: paths of more, ./file.py or ./file.py:object.

    Raises:
        PluginError: a file that cannot be loaded.
    """

    def __init__(self, files: Sequence[str] = ()) -> None:
        self.managers: list[tuple[plugins.Plugin, pluggy.PluginManager]] = []
        self.loaded: list[dict[str, str]] = []
        """What a result says of them: name, distribution and version of an installed one, path and sha256 of
        a file."""
        if not processes.leads():
            return  # of several processes one tells
        named = [plugins.resolve("hook", file) for file in files]
        for plugin, implementation in (
            *plugins.load_all("hook"),
            *((plugin, plugins.load(plugin)) for plugin in named),
        ):
            manager = pluggy.PluginManager(
                "datk"
            )  # one for each, so that none can keep another from its call
            manager.add_hookspecs(Specs)
            try:
                manager.register(implementation)
                manager.check_pending()
            except (pluggy.PluginValidationError, ValueError) as error:
                warnings.warn(f"{plugin} is left out: {error}", stacklevel=2)
            else:
                self.managers.append((plugin, manager))
                self.loaded.append(_described(plugin))

    def notify(self, event: str, **arguments: Any) -> None:
        """Tell every plugin of one event. Each is given copies of its own: what it does to them reaches
        neither the run nor the other plugins."""
        for plugin, manager in self.managers:
            try:
                getattr(manager.hook, event)(**copy.deepcopy(arguments))
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # sys.exit(), too: a notification does not end the run
                warnings.warn(f"{plugin} failed in {event}: {exception_text(error)}", stacklevel=2)


def _described(plugin: plugins.Plugin) -> dict[str, str]:
    if plugin.dist:
        try:
            version = importlib.metadata.version(plugin.dist)
        except importlib.metadata.PackageNotFoundError:
            version = "unknown"
        return {"name": plugin.name, "distribution": plugin.dist, "version": version}
    file, _ = plugin._parts
    return {"file": plugin.target, "sha256": hashlib.sha256(Path(file).read_bytes()).hexdigest()}
