"""Installed pairs and the published data they need."""

import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from datk.base.errors import ConfigError, DataError, did_you_mean
from datk.base.files import LOCK, only_one
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
    write = served[0].mock
    assert write is not None
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is not empty but a file; give a new folder with --out")
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with only_one(folder, DataError(f"another process makes a mock in {folder}; wait until it is done")):
            _write_beside(lambda part: write(part, scale, seed), folder)
    except OSError as error:
        _remove_empty(new)
        raise DataError(f"the mock cannot be written: {error}; see to it, or give another --out") from error
    except BaseException:
        _remove_empty(new)
        raise
    return [record.name for record in served]


def _write_beside(write: Callable[[Path], None], folder: Path) -> None:
    """Let files be written into a folder of their own in `folder`, and move them to their places in the end:
    whatever happens, nothing that others put there is overwritten or removed."""
    part = folder / ".mock.part"  # one that is left of a process that was killed is ours
    if part.is_symlink() or any(entry.name not in (part.name, LOCK) for entry in folder.iterdir()):
        raise DataError(f"{folder} is not empty; give a new folder with --out")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir()
        write(part)
        written = sorted(part.iterdir())
        taken = [file.name for file in written if os.path.lexists(folder / file.name)]
        if taken:
            raise DataError(f"{folder} has got a file {taken[0]} meanwhile; give another folder with --out")
        for file in written:
            file.rename(folder / file.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders in turn that nothing is in."""
    for path in folders:
        with suppress(OSError):
            path.rmdir()
