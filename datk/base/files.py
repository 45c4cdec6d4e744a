"""Files that are whole or not there, and errors that name the file."""

import errno
import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from datk.base.errors import DatkError, RunError

try:
    import fcntl
except ImportError:  # not on Windows
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


LOCK = ".datk-lock"
"""File that stands for a lock where the system gives none on a folder."""


@contextmanager
def only_one(folder: Path, busy: DatkError, *, wait: bool = False) -> Iterator[None]:
    """Lock a folder, and raise `busy` if another process has, or if the folder is no longer there.

    The system frees the lock when a process dies. Where it gives none on a folder (network file systems,
    Windows), a file in the folder stands for it, which says who made it: that of a process of this machine
    that died is taken over, that of another machine has to be removed by hand.

    Args:
        wait: for the other process to be done, in place of raising.
    """
    descriptor = _lock_folder(folder, busy, wait)
    if descriptor is None:
        _make_lock_file(folder / LOCK, busy, wait)
    try:
        yield
    finally:
        if descriptor is None:
            with suppress(OSError):
                (folder / LOCK).unlink()
        else:
            os.close(descriptor)


def _lock_folder(folder: Path, busy: DatkError, wait: bool) -> int | None:
    """The descriptor that holds the lock, None where there are no locks on folders."""
    if fcntl is None:
        return None
    descriptor = -1
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        # Whoever had the lock may have removed the folder, and somebody else made another one.
        here, there = os.fstat(descriptor), folder.stat()
        if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        if descriptor < 0:  # a folder that cannot be opened
            raise
        os.close(descriptor)
        return None
    if descriptor >= 0:
        os.close(descriptor)
    raise busy from None


def _make_lock_file(path: Path, busy: DatkError, wait: bool) -> None:
    mine = f"{socket.gethostname()} {os.getpid()}"
    while True:
        try:
            with writing(path), path.open("x", encoding="utf-8") as file:
                file.write(mine)
            return
        except RunError as error:
            if not isinstance(error.__cause__, FileExistsError):
                raise
        host, number = _maker(path)
        if host == socket.gethostname() and number and not _is_alive(number):
            with suppress(OSError):
                path.unlink()
        elif wait:
            time.sleep(0.1)
        else:
            whose = f"process {number} on {host}" if host else "another process"
            raise type(busy)(f"{busy}; if {whose} is no more, remove {path}")


def _maker(path: Path) -> tuple[str, int]:
    """Machine and process that made a lock file; nothing where it does not say."""
    try:
        host, _, number = path.read_text(encoding="utf-8").rpartition(" ")
        return host, int(number)
    except (OSError, ValueError):  # gone, or not written yet
        return "", 0


def _is_alive(process: int) -> bool:
    if os.name != "posix":  # elsewhere one cannot ask without harm
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        pass
    return True


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write beside and rename, so that a reader sees the old file or the new one, whole. A link in the place
    of either file is replaced, never followed."""
    temporary = path.with_name(path.name + ".part")
    with writing(path):
        temporary.unlink(missing_ok=True)  # what a killed process left
        file = temporary.open("xb")
        try:
            with file:
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


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it holds {name}, which is no number of JSON")


def read_json(path: Path) -> Any:
    """Parsed JSON. Raises `RunError` if the file is missing or malformed."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read: {error}") from None


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders with nothing in them, the innermost first."""
    for folder in folders:
        if folder.is_dir() and all(entry.name == LOCK for entry in folder.iterdir()):
            with suppress(OSError):  # somebody else was quicker to remove it, or to come into it
                (folder / LOCK).unlink(missing_ok=True)
                folder.rmdir()
