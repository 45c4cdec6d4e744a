"""Whether a folder is a place for the runs and tables of a suite."""

from pathlib import Path
from typing import Any

from datk.base.errors import RunError
from datk.base.files import LOCK, read_json
from datk.runs.recognize import is_run


def check_folder(folder: Path) -> None:
    """Raise `RunError` for a folder with files in it that are neither runs nor tables of a suite."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RunError(f"--out {folder} is a file; name a folder")
    if is_run(folder):
        raise RunError(f"{folder} holds a single run; a suite needs another --out")
    if not (_is_empty(folder) or _holds_tables(folder) or any(map(is_run, folder.glob("*/*/seed-*")))):
        raise RunError(f"{folder} is not empty and holds no suite; choose another --out")


def _is_empty(folder: Path) -> bool:
    """Whether there are no files, for folders of runs that were interrupted before they wrote any."""
    return all(path.is_dir() or path.name == LOCK for path in folder.rglob("*"))


def _holds_tables(folder: Path) -> bool:
    return any(_is_table(path) for path in folder.glob("*.json"))


def _is_table(path: Path) -> bool:
    try:
        tables: Any = read_json(path)
    except RunError:
        return False
    return isinstance(tables, dict) and isinstance(tables.get("runs"), list) and "suite" in tables
