"""Errors that a user can mend. Each message says what is wrong, which one, and what to do next."""

import difflib
import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class DatkError(Exception):
    """A mistake the user can mend; the command line prints it as one line and exits with code 2."""


class ConfigError(DatkError):
    """An option or a component's name that does not hold."""


class DataError(DatkError):
    """Data that cannot be read, or that no classifier should be trained on."""


class PluginError(DatkError):
    """A component that cannot be found, loaded, or told apart from another of the same name."""


class RunError(DatkError):
    """A run folder that is in the way, or a run that could not go on."""


class BusyError(RunError):
    """A run folder that another process writes into."""


NO_MEMORY = (
    "defaultcpuallocator",
    "not enough memory",
    "out of memory",
    "cannot allocate memory",
    "can't allocate memory",
    "alloc_failed",
    "std::bad_alloc",
    "unable to allocate",
)
"""What torch, CUDA and HDF5 say, in lower case, where memory is short; their errors are RuntimeErrors."""

TOO_LARGE = (
    "storage size calculation overflowed",
    "integer multiplication overflow",
    "invalid shape dimension",
    "too large to convert",
    "too big to convert",
    "too large to be represented",
    "maximum supported dimension",
    "array is too big",
    "overflow when unpacking long",
    "value cannot be converted to type",
    "numerical result out of range",
    "cannot convert float infinity to integer",
)
"""What is said, in lower case, of a size that no machine has."""


NO_NAME = ("embedded null", "could not determine home directory")
"""What Python says, in lower case, of a path that no file can have."""


def machine_fault(error: BaseException) -> DatkError | None:
    """What to tell the user of an exception that the machine raised: its memory is short, or its files cannot
    be read or written. None for any other exception."""
    said = str(error).lower()
    if isinstance(error, MemoryError) or any(words in said for words in NO_MEMORY):
        return RunError(
            f"out of memory ({_first_line(error)}); lower train.batch_size, data.memory_gb or the "
            "size of the network, or close other programs"
        )
    if isinstance(error, OverflowError | RuntimeError | ValueError) and any(w in said for w in TOO_LARGE):
        return RunError(f"a size or number is too large ({_first_line(error)}); see to the options")
    if isinstance(error, OSError):
        return RunError(f"{_what_failed(error)}; {ADVICE.get(error.errno or 0, 'see to it and try again')}")
    if isinstance(error, UnicodeEncodeError):
        return RunError(f"a name cannot be written as UTF-8 ({_first_line(error)}); give it another name")
    if isinstance(error, ValueError | RuntimeError) and any(words in said for words in NO_NAME):
        return RunError(f"there can be no file of that name ({_first_line(error)}); give another")
    if isinstance(error, EOFError):
        return RunError(f"a file ends before it should ({_first_line(error)}); see that it is whole")
    return None


ADVICE = {
    errno.EACCES: "see to the permissions, or name another place",
    errno.EPERM: "see to the permissions, or name another place",
    errno.EROFS: "name a place that can be written to",
    errno.ENOSPC: "make room, or name a place on another disk",
    errno.EDQUOT: "make room, or name a place on another disk",
    errno.EMFILE: "let the process open more files (ulimit -n)",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "see where its links lead",
}
"""What to do about errors of the system, by number."""


def _what_failed(error: OSError) -> str:
    """The file and the reason."""
    reason = error.strerror or str(error) or type(error).__name__
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    return f"{' and '.join(names)}: {reason}" if names else reason


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().partition("\n")[0][:200]


@contextmanager
def naming_seed(seed: int) -> Iterator[None]:
    """Let a `RunError` say in which of several runs it came up."""
    try:
        yield
    except RunError as error:
        raise RunError(f"seed {seed}: {error}") from error


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error message for an unknown name: the closest known one, or the list of all.

    >>> did_you_mean("mdm", ["mmd", "dann"])
    "; did you mean 'mmd'?"
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(known)}" if known else "; there are none"
