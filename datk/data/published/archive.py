"""What an archive says of a record: names, sizes and checksums of its files, as Zenodo's API gives them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from datk.base.errors import DataError
from datk.data.published.records import Record

ALGORITHMS = ("md5", "sha256", "sha512")


@dataclass(frozen=True)
class ArchiveFile:
    """One file of an entry."""

    name: str
    size: int
    """Bytes."""
    checksum: str | None
    """`algorithm:hexadecimal`; None if nobody has told it."""
    url: str | None
    """Where it is downloaded; None for one that lies in a folder already."""


@dataclass(frozen=True)
class Entry:
    """A record's entry in an archive, of the files that a pair needs."""

    location: str
    """URL or folder that it was read from."""
    files: Mapping[str, ArchiveFile]
    """By HDF5 dataset, as in `Record.files`."""
    title: str
    doi: str | None = None
    licence: str | None = None
    mock: bool = False
    """Made up by `datk data mock`."""

    @property
    def distinct(self) -> list[ArchiveFile]:
        """The files, each once."""
        return list({file.name: file for file in self.files.values()}.values())

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.distinct)


def parse_entry(text: bytes, record: Record, location: str) -> Entry:
    """The entry in a JSON text that was read from `location`, to which its links may be relative.

    Raises `DataError` if it is malformed, lacks a file of the record, or is not the version that datk knows.
    """
    try:
        content = json.loads(text)
        metadata = content.get("metadata") or {}
        known = {str(file["key"]): file for file in content["files"]}
        title, doi = metadata.get("title") or record.title, content.get("doi") or metadata.get("doi")
        licence = (metadata.get("license") or {}).get("id")
        mock = content.get("mock", False)
        if not isinstance(mock, bool):
            raise ValueError("mock is neither true nor false")
        missing = sorted({file.name for file in record.files.values()} - known.keys())
        files = {key: _file(known[file.name], location) for key, file in record.files.items() if not missing}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{location} is no entry of an archive ({type(error).__name__}: {error}); see that the address "
            "is the record's in the archive's API, or take the files without it: a folder of downloads needs "
            "no record.json"
        ) from None
    if missing:
        raise DataError(
            f"the entry {location} has no file {', '.join(missing)}; see that it is the one of {record.title}"
        )
    if not mock:
        _check_version(files, record, location)
    return Entry(location, files, str(title), doi and str(doi), licence and str(licence), mock)


def _file(content: Any, location: str) -> ArchiveFile:
    """One element of "files"."""
    name, size, checksum = content["key"], content["size"], content["checksum"]
    if not isinstance(size, int) or size < 0:
        raise ValueError(f"size {size!r} of {name}")
    algorithm, _, value = str(checksum).partition(":")
    if algorithm not in ALGORITHMS or not re.fullmatch("[0-9a-fA-F]{32,128}", value):
        raise ValueError(f"checksum {checksum!r} of {name} is none of {', '.join(ALGORITHMS)}")
    links = content.get("links") or {}
    link = links.get("content") or links.get("self")
    return ArchiveFile(name, size, f"{algorithm}:{value.lower()}", link and _absolute(str(link), location))


def _absolute(link: str, location: str) -> str:
    url = urljoin(location, link) if is_url(location) else link
    if is_url(location) and not is_url(url):
        raise ValueError(f"link {link} is neither http nor https")
    return url


def _check_version(files: Mapping[str, ArchiveFile], record: Record, location: str) -> None:
    for key, expected in record.files.items():
        if files[key].size != expected.size:
            raise DataError(
                f"the entry {location} says that {expected.name} has {files[key].size:,} bytes, but the file "
                f"that {record.name} was written for has {expected.size:,}; is it another version of the "
                "record?"
            )


def is_url(location: str) -> bool:
    """Whether a location is a web address, not a folder."""
    return re.match("https?://", location, re.IGNORECASE) is not None


def folder_entry(folder: Path, record: Record) -> Entry:
    """The entry for files in a folder: of its record.json, else what datk knows, which is no checksums.

    Raises `DataError` for a folder that is not there, or a record.json as `parse_entry` does.
    """
    if not folder.is_dir():
        kind = "is no folder" if folder.exists() else "is not there"
        raise DataError(
            f"{folder} {kind}; --from names the folder of downloaded files, or a URL (https://...)"
        )
    described = folder / "record.json"
    if described.is_file():
        return parse_entry(described.read_bytes(), record, str(described))
    files = {key: ArchiveFile(file.name, file.size, None, None) for key, file in record.files.items()}
    return Entry(str(folder), files, record.title)
