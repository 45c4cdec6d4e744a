"""The transfer of one file: resumed where it was cut, checked at the end."""

import hashlib
import http.client
import re
from pathlib import Path

from datk.base.errors import DataError
from datk.data.published.archive import ArchiveFile
from datk.data.published.connection import (
    Patience,
    RangeRefusedError,
    TransientError,
    Watch,
    answer,
    network,
    persist,
)
from datk.data.published.progress import Progress

BLOCK = 1 << 18


def new_part(path: Path) -> Path:
    """Where a file is written before it is renamed to `path`. Nothing is there yet, so that no link leads to
    a file of somebody else's."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    return part


def begun_part(path: Path) -> Path:
    """As `new_part`, with what an earlier download left there."""
    part = path.with_name(path.name + ".part")
    return new_part(path) if part.is_symlink() or not part.is_file() else part


def download(file: ArchiveFile, path: Path, progress: Progress, patience: Patience) -> None:
    """Bring a file to `path` and check it; one that is there and whole is kept.

    The first part lies in `path`.part, where the next call goes on if this one fails or is interrupted.

    Raises:
        DataError: the server does not give the file, or gives a wrong one twice.
        OSError: it cannot be written.
    """
    if path.is_file():
        if fault(file, path, progress) is None:
            return
        path.unlink()
    part = begun_part(path)
    for last in (False, True):
        _Transfer(file, part, progress, patience).run()
        wrong = fault(file, part, progress)
        if wrong is None:
            part.replace(path)
            return
        part.unlink()
        if not last:
            progress.note(f"{wrong}; downloading it again")
    raise DataError(
        f"{wrong}, twice; {file.url} does not give what the record describes, try again later or elsewhere"
    )


def fault(file: ArchiveFile, path: Path, progress: Progress) -> str | None:
    """How a file on disk differs from its description in size or checksum; None if it does not."""
    size = path.stat().st_size
    if size != file.size:
        return f"{path.name} has {size:,} bytes, not {file.size:,}"
    if file.checksum is None:
        return None
    algorithm, _, expected = file.checksum.partition(":")
    progress.begin(f"checking {file.name}", size)
    found = digest(path, algorithm, progress)
    return None if found == expected else f"the {algorithm} of {path.name} is {found}, not {expected}"


def digest(path: Path, algorithm: str, progress: Progress) -> str:
    """Checksum of a file, hexadecimal."""
    sum_ = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            sum_.update(block)
            progress.advance(len(block))
    return sum_.hexdigest()


# --- one file ------------------------------------------------------------------------------------------


class _Transfer:
    """From a URL into a .part file, over as many connections as it takes."""

    def __init__(self, file: ArchiveFile, part: Path, progress: Progress, patience: Patience) -> None:
        assert file.url is not None
        self.file, self.url, self.part = file, file.url, part
        self.progress, self.patience = progress, patience
        self.etag: str | None = None
        self.furthest = self.done = part.stat().st_size if part.is_file() else 0

    def run(self) -> None:
        """Bring all bytes."""
        self.progress.begin(f"downloading {self.file.name}", self.file.size, self.done)
        if self.done > self.file.size:
            self._start_again()
            self.furthest = 0
        if self.done < self.file.size:
            persist(self._attempt, lambda: self.furthest, self.url, self.progress, self.patience)

    def _attempt(self) -> None:
        """One connection, as far as it goes."""
        headers = {"Range": f"bytes={self.done}-"} if self.done else {}
        if self.done and self.etag:
            headers["If-Range"] = self.etag
        with Watch(self.patience) as watch:
            try:
                response = answer(self.url, headers, self.patience.timeout, watch)
            except RangeRefusedError:
                self._start_again()
                raise TransientError("the server has no such range; starting again") from None
            self._take(response, watch)

    def _take(self, response: http.client.HTTPResponse, watch: Watch) -> None:
        """What a connection brings, behind what there is."""
        with response:
            self._check_start(response)
            etag = response.headers.get("ETag", "")
            self.etag = etag if etag.startswith('"') else None  # a weak one does not vouch for bytes
            with self.part.open("ab") as part:
                while self.done < self.file.size:
                    with network(watch):
                        block = response.read1(min(BLOCK, self.file.size - self.done))
                    if not block:
                        raise TransientError(
                            f"the connection was cut at {self.done:,} of {self.file.size:,} bytes"
                        )
                    part.write(block)
                    watch.came(len(block))
                    self._advance(len(block))

    def _check_start(self, response: http.client.HTTPResponse) -> None:
        """See that what follows belongs where the .part file ends, or empty that file."""
        if response.status == 206:
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
            if match is None or int(match[1]) != self.done:
                self._start_again()
                raise TransientError("the server sent another range than was asked for; starting again")
            size = match[2]
        else:
            if self.done:
                self._start_again()
                self.progress.note(f"{self.file.name}: the server cannot resume; starting again")
            size = response.headers.get("Content-Length", "")
        if size.isdigit() and int(size) != self.file.size:
            raise DataError(
                f"{self.url} gives {int(size):,} bytes where the record says {self.file.size:,}; see that "
                "nothing stands between you and the archive (a login page?), or that the entry is up to date"
            )

    def _start_again(self) -> None:
        self.part.unlink(missing_ok=True)
        self._advance(-self.done)

    def _advance(self, size: int) -> None:
        self.done += size
        self.furthest = max(self.furthest, self.done)
        self.progress.advance(size)
