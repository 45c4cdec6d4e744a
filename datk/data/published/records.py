"""Published data that a pair is made of: what `datk data fetch` brings, and where it lies.

A pair that needs published files says so by its class attribute `record`. The core downloads them, converts
them once to a single HDF5 file under `data_folder()`, and the pair opens that file with `open_record`.
"""

import json
import os
from pathlib import Path
from typing import Any

from datk.base.errors import DataError
from datk.interfaces import Record, RecordFile

__all__ = ["MissingDataError", "Record", "RecordFile", "data_folder", "open_record"]


MANIFEST = {"pair", "mock", "sha256", "size", "datasets", "record", "from", "files", "compared", "date"}
"""What a manifest has to say; one that does not say whether the data are a mock is none."""


class MissingDataError(DataError):
    """Published data have not been fetched."""


def data_folder() -> Path:
    """Where fetched data are: `DATK_DATA_DIR`, else datk/ in the user's data directory (XDG)."""
    if given := os.environ.get("DATK_DATA_DIR"):
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "datk"


def size_text(size: float) -> str:
    """Bytes for people: 4.2 GB, 12.0 MB."""
    unit = "bytes"
    for larger in ("kB", "MB", "GB"):
        if size < 999.5:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"


def open_record(record: Record, path: str | Path | None = None) -> tuple[Path, dict[str, Any]]:
    """The record's HDF5 file and its manifest.

    Args:
        path: of the HDF5 file if it lies elsewhere than where `datk data fetch` puts it.

    Raises:
        MissingDataError: it has not been fetched; says how to, and how big it is.
        DataError: file and manifest do not belong together.
    """
    data = Path(path).expanduser() if path is not None else data_folder() / record.name / "data.h5"
    manifest_path = data.with_name("manifest.json")
    if not (data.is_file() and manifest_path.is_file()):
        raise MissingDataError(
            f"{record.name} is not in {data.parent}; fetch it once with: datk data fetch {record.name} "
            f"({size_text(record.size)} to download); to try things out without it: "
            f"datk data mock {record.publication} --out m && datk data fetch {record.name} --from m"
        )
    try:
        manifest: dict[str, Any] = json.loads(manifest_path.read_text(encoding="utf-8"))
        whole = data.stat().st_size == manifest["size"] and manifest.keys() >= MANIFEST
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise DataError(
            f"{data} is not the file that its manifest describes; fetch it again with: "
            f"datk data fetch {record.name} --force"
        )
    return data, manifest
