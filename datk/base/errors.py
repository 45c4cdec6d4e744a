"""Errors that a user can mend. Each message says what is wrong, which one, and what to do next."""

import difflib
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
