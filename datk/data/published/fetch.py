"""What `datk data fetch` does: entry, files, converted file, manifest, in this order and each checked.

The folder `data_folder()/NAME` holds data.h5 and manifest.json, which is written last: the data are fetched
if and only if it is there. Until then downloads lie beside them, so that an interrupted fetch goes on.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from datk.base.errors import DataError
from datk.base.files import only_one
from datk.base.version import __version__
from datk.data.published.archive import Entry, folder_entry, is_url, parse_entry
from datk.data.published.connection import Patience, read_url
from datk.data.published.convert import convert, open_arrays
from datk.data.published.download import digest, download, fault, new_part
from datk.data.published.progress import Progress
from datk.data.published.records import MissingDataError, Record, data_folder, open_record, size_text


@dataclass(frozen=True)
class Fetched:
    """Converted data of a record."""

    path: Path
    """data.h5."""
    manifest: dict[str, Any]

    @property
    def mock(self) -> bool:
        """Made up by `datk data mock`."""
        return bool(self.manifest.get("mock"))

    @property
    def intact(self) -> bool:
        """Whether the file has the checksum of the manifest; reads all of it."""
        return digest(self.path, "sha256", Progress()) == self.manifest.get("sha256")


def fetched(record: Record) -> Fetched | None:
    """The fetched data of a record, None if there are none. Raises `DataError` as `open_record` does."""
    try:
        return Fetched(*open_record(record))
    except MissingDataError:
        return None


def state(record: Record) -> Literal["fetched", "mock", "damaged", "not fetched"]:
    """What there is of a record, in a word."""
    try:
        there = fetched(record)
    except DataError:
        return "damaged"
    if there is None:
        return "not fetched"
    return "mock" if there.mock else "fetched"


def fetch(
    record: Record,
    origin: str | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> tuple[Fetched, bool]:
    """Download and convert a record's files; returns the data, and whether they are new.

    Args:
        origin: URL of another entry, or a folder of downloaded files, which are read and left as they are.
        force: replace what has been fetched.

    Raises:
        DataError: what the archive or the folder gives is not the record; there is no room; another fetch is
            at work; only a mock is there, and the published data were asked for.
    """
    progress, patience = progress or Progress(), patience or Patience()
    folder = data_folder() / record.name
    if origin is not None and not is_url(origin):
        origin = str(Path(origin).expanduser().absolute())
    with _storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with only_one(folder, DataError(f"another fetch is at work in {folder}; wait until it is done")):
            there = None if force else fetched(record)
            if there is not None:
                _check_origin(record, there, origin)
                return there, False
            if origin is not None and not is_url(origin):
                entry = folder_entry(Path(origin), record)
                _check_files(entry, Path(origin), progress)
                result = _converted(record, entry, Path(origin), folder, progress)
            else:
                url = origin or record.url
                entry = parse_entry(read_url(url, progress, patience), record, url)
                _download(entry, folder, progress, patience)
                result = _converted(record, entry, folder, folder, progress)
            _remove_downloads(entry, folder, None if origin is None or is_url(origin) else Path(origin))
            return result, True


def _remove_downloads(entry: Entry, folder: Path, origin: Path | None) -> None:
    """Remove what was downloaded into the data folder, but nothing of the folder that the files were read
    from: it may be the same one by another name, or hold links into it."""
    if origin is not None and _same(origin, folder):
        return
    kept = [] if origin is None else [origin / file.name for file in entry.distinct]
    for file in entry.distinct:
        for path in (folder / file.name, folder / f"{file.name}.part"):
            if not any(_same(path, other) for other in kept):
                path.unlink(missing_ok=True)


def _same(one: Path, other: Path) -> bool:
    """Whether two names lead to the same file or folder, which is there."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def _check_origin(record: Record, there: Fetched, origin: str | None) -> None:
    """Raise `DataError` if what is there is not what is asked for."""
    came_from = str(there.manifest["from"])
    if origin is None and not there.mock:
        return
    if origin is not None and came_from in (origin, str(Path(origin) / "record.json")):
        return
    what = f"a mock of {record.name}" if there.mock else record.name
    raise DataError(
        f"{there.path.parent} holds {what}, fetched from {came_from}; to replace it, give the same command "
        "with --force"
    )


def _download(entry: Entry, folder: Path, progress: Progress, patience: Patience) -> None:
    present = 0
    for file in entry.distinct:
        if file.url is None:
            raise DataError(f"the entry {entry.location} has no link to {file.name}; download it by hand")
        for path in (folder / file.name, folder / f"{file.name}.part"):
            present += min(file.size, path.stat().st_size) if path.is_file() else 0
    # Half as much again once converted: images are published in float64 as a rule.
    _see_to_room(folder, entry.size - present + entry.size // 2)
    for file in entry.distinct:
        download(file, folder / file.name, progress, patience)


def _check_files(entry: Entry, folder: Path, progress: Progress) -> None:
    for file in entry.distinct:
        if not (folder / file.name).is_file():
            raise DataError(f"{folder} has no file {file.name}; download it there, or leave out --from")
        if wrong := fault(file, folder / file.name, progress):
            raise DataError(f"{folder}: {wrong}; download it again")


def _converted(record: Record, entry: Entry, files: Path, folder: Path, progress: Progress) -> Fetched:
    """Convert the files, and write the manifest when all is done."""
    arrays = open_arrays(record, files)
    _see_to_room(folder, arrays.size)
    data, manifest = folder / "data.h5", folder / "manifest.json"
    part = new_part(data)
    try:
        datasets = convert(arrays, part, not entry.mock, progress)
        progress.begin("checksum", part.stat().st_size)
        content = _manifest(record, entry, datasets, part, digest(part, "sha256", progress))
        manifest.unlink(missing_ok=True)  # it would not be that of the new file
        _put(part, data)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    part = new_part(manifest)
    part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    _put(part, manifest)
    return Fetched(data, content)


def _put(part: Path, path: Path) -> None:
    """Rename a written file once the disk has it."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


def _manifest(
    record: Record, entry: Entry, datasets: dict[str, dict[str, Any]], data: Path, sha256: str
) -> dict[str, Any]:
    compared = [key for key, file in record.files.items() if file.mean is not None]
    return {
        "pair": record.name,
        "mock": entry.mock,
        "sha256": sha256,
        "size": data.stat().st_size,
        "datasets": datasets,
        "record": {
            "title": entry.title,
            "reference": record.reference,
            "url": record.url,
            "doi": entry.doi,
            "licence": entry.licence,
        },
        "from": entry.location,
        "files": [
            {"dataset": key, "name": file.name, "size": file.size, "checksum": file.checksum}
            for key, file in entry.files.items()
        ],
        "compared": [] if entry.mock else compared,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "datk": __version__,
    }


# --- the folder ----------------------------------------------------------------------------------------


def _see_to_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(
            f"{folder} needs {size_text(needed)} and has {size_text(free)} free; make room, or set "
            "DATK_DATA_DIR to a folder on another disk"
        )


@contextmanager
def _storing(folder: Path) -> Iterator[None]:
    """Turn a failure to write into an error that says what to do."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise DataError(
            f"cannot fetch into {folder}: {'the disk is full' if full else error}; see to it and give the "
            "same command again, which goes on where this one stopped, or set DATK_DATA_DIR to another folder"
        ) from error
