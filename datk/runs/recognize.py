"""What a folder holds: a run of datk, runs of several seeds, nothing, or files that are somebody else's."""

import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from datk.base.errors import ConfigError, RunError
from datk.base.files import LOCK

FILES = (
    "result.json",
    "checkpoints/last.pt",
    "checkpoints/selected.safetensors",
    "environment.json",
    "metrics.jsonl",
    "log.txt",
    "splits.npz",
    "outputs.npz",
    "config.json",
)
"""What a run writes into its folder; the mark of a completed run first, the mark of any run last."""

SECTIONS = {"pair", "backbone", "align", "train"}
"""Keys that every config.json of a run has had."""


def is_run(path: Path) -> bool:
    """Whether a folder holds a run of datk, complete or not.

    Many programs write a config.json. That of a run has the sections of a run; where it is damaged, another
    file that only datk writes must lie beside it.
    """
    if not (path / "config.json").is_file():
        return False
    config = _json(path / "config.json")
    if isinstance(config, dict) and config.keys() >= SECTIONS and isinstance(config["train"], dict):
        return True
    starts = _json(path / "environment.json")
    last = starts[-1] if isinstance(starts, list) and starts else starts
    return (isinstance(last, dict) and {"datk", "packages"} <= last.keys()) or _holds_splits(path)


def is_empty(path: Path) -> bool:
    """Whether there is nothing in a folder, or only what a run left that was killed in its first moment."""
    left = {"config.json.part", LOCK}
    return all(entry.name in left for entry in path.iterdir())


def seeds_in(path: Path) -> dict[int, Path]:
    """Folders of the runs of several seeds, by seed."""
    found = {
        int(folder.name.removeprefix("seed-")): folder
        for folder in path.glob("seed-*")
        if folder.name.removeprefix("seed-").isdecimal() and is_run(folder)
    }
    return dict(sorted(found.items()))


def recorded_config(out: Path, seeds: Sequence[int] | None) -> Path | None:
    """The configuration that a run to be resumed was started with, None if it has not written any.

    Raises:
        ConfigError: there is no run, or there are several and none is named.
    """
    if not out.is_dir():
        raise ConfigError(f"there is no run {out} to go on with; leave out --resume to start one")
    if is_run(out):
        return out / "config.json"
    several = seeds_in(out)
    if several and seeds is None:
        raise ConfigError(f"{out} holds runs of several seeds; say which with --seed")
    asked = [several[seed] for seed in seeds or () if seed in several]
    return next((folder / "config.json" for folder in (*asked, *several.values())), None)


def refuse_links(path: Path) -> None:
    """Raise `RunError` if what a run would write is a link: it may lead to files that are no run's."""
    for written in _written(path):
        if written.is_symlink():
            raise RunError(
                f"{written} is a link, and a run writes through none; remove it, or choose another --out"
            )


def _written(path: Path) -> Iterator[Path]:
    yield path / "checkpoints"
    for name in FILES:
        yield path / name
        yield path / f"{name}.part"


def _holds_splits(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path / "splits.npz") as archive:
            return {"source_train.npy", "target_train.npy"} <= {*archive.namelist()}
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def _json(path: Path) -> Any:
    """What a file holds, None where that is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
