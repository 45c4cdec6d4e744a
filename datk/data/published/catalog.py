"""Installed pairs and the published data they need."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from datk.base.errors import ConfigError, DataError, did_you_mean
from datk.config import plugins
from datk.data.published.records import Record


@dataclass(frozen=True)
class ListedPair:
    """A pair, and the published data it needs."""

    name: str
    summary: str
    """First line of its docstring."""
    record: Record | None
    notes: tuple[str, ...]
    """What everybody who reads a result of it must know."""


def pairs() -> list[ListedPair]:
    """All installed pairs; one that cannot be loaded becomes a warning."""
    return [_listed(plugin, cls) for plugin, cls in plugins.load_all("pair")]


def pair(name: str) -> ListedPair:
    """The pair of a name. Raises `PluginError` if there is none, or it cannot be loaded."""
    plugin = plugins.resolve("pair", name)
    return _listed(plugin, plugins.load(plugin))


def _listed(plugin: plugins.Plugin, cls: object) -> ListedPair:
    notes = getattr(cls, "notes", ())
    notes = notes if isinstance(notes, tuple) else ()  # a pair may compute them
    return ListedPair(plugin.label, plugin.summary, getattr(cls, "record", None), notes)


def record_of(name: str) -> Record:
    """The record of a pair. Raises `ConfigError` if it needs none, `PluginError` if there is no such pair."""
    record = pair(name).record
    if record is None:
        raise ConfigError(
            f"pair '{name}' needs no published data; datk plugins show {name} says what it needs"
        )
    return record


def write_mock(publication: str, folder: Path, scale: float, seed: int) -> list[str]:
    """Write a miniature of a publication into a new or empty folder; returns the pairs that it serves.

    Raises `ConfigError` for an unknown publication, `DataError` for a folder that holds something.
    """
    records = [listed.record for listed in pairs() if listed.record is not None and listed.record.mock]
    served = [record for record in records if record.publication == publication]
    if not served:
        known = {record.publication for record in records}
        raise ConfigError(f"no publication '{publication}' has a mock{did_you_mean(publication, known)}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is not empty; give a new folder with --out")
    write = served[0].mock
    assert write is not None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write(folder, scale, seed)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)  # it was empty before
        if isinstance(error, OSError):
            raise DataError(
                f"the mock cannot be written: {error}; see to it, or give another --out"
            ) from error
        raise
    return [record.name for record in served]
