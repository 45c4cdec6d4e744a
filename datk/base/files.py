"""Files that are whole or not there, and errors that name the file."""

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from datk.base.errors import DatkError, RunError

try:
    import fcntl
except ImportError:  # not on Windows, where two at once are the user's affair
    fcntl = None  # type: ignore[assignment]


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failure to write into an error that names the file."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch.save raises either
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        reason = "the disk is full" if full else str(error)
        raise RunError(
            f"cannot write {path}: {reason}; what was written before is whole, --resume goes on with it"
        ) from error


@contextmanager
def only_one(folder: Path, busy: DatkError) -> Iterator[None]:
    """Lock a folder, and raise `busy` if another process has. The system frees it when a process dies."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        except OSError:  # a network file system without locks
            pass
        yield
    finally:
        os.close(descriptor)


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write beside and rename, so that a reader sees the old file or the new one, whole."""
    temporary = path.with_name(path.name + ".part")
    with writing(path):
        try:
            with temporary.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, readable for people."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def append_line(path: Path, line: str) -> None:
    """Add a line at the end. Raises `RunError` if that fails."""
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def read_json(path: Path) -> Any:
    """Parsed JSON. Raises `RunError` if the file is missing or malformed."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}") from None
