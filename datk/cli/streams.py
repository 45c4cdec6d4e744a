"""Output and error stream of the program: safe to write to, whatever they are and whatever is written.

A terminal that went away, a pipe whose reader died or a full disk must not end a run that is training, and a
terminal without Unicode must not turn a complete run into a failed one.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from datk.base.text import encodable, printable


class SturdyStream(io.TextIOBase):
    """A text stream that says what its encoding lacks in other characters, and that falls silent for good
    when what it writes to is gone; `lost` is then the reason."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.lost: OSError | None = None

    def write(self, text: str) -> int:
        """Write, or do nothing once the stream is lost."""
        if self.lost is None:
            with self._losing():
                self.stream.write(encodable(text, self.stream.encoding))
        return len(text)

    def flush(self) -> None:
        """Flush, or do nothing once the stream is lost."""
        if self.lost is None:
            with self._losing():
                self.stream.flush()

    @contextmanager
    def _losing(self) -> Iterator[None]:
        """Turn what is written from now on away from a stream that fails."""
        try:
            yield
        except (OSError, ValueError) as error:  # a closed file is a ValueError
            self.lost = error if isinstance(error, OSError) else OSError(str(error))
            # What the stream still holds would fail once more when the interpreter ends.
            with suppress(OSError, ValueError):
                to_nowhere(self.stream.fileno())

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self.lost is None and self.stream.isatty()

    def fileno(self) -> int:
        """The number of the file."""
        return self.stream.fileno()

    def writable(self) -> bool:
        """Whether it can be written to."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream."""
        return getattr(self.stream, "encoding", None) or "utf-8"

    @property
    def buffer(self) -> Any:
        """The stream of bytes below."""
        return self.stream.buffer


def to_nowhere(descriptor: int) -> None:
    """Let a file descriptor lead to the null device."""
    null = os.open(os.devnull, os.O_RDWR)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)


@contextmanager
def sturdy_streams() -> Iterator[None]:
    """Put sturdy streams in the place of the program's; where one was closed before it began, a silent
    one."""
    before = sys.stdout, sys.stderr
    for descriptor in (1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            with suppress(OSError):
                to_nowhere(descriptor)  # or the next file that is opened would be taken for it
    out, err = (io.StringIO() if stream is None else stream for stream in before)
    sys.stdout, sys.stderr = SturdyStream(out), SturdyStream(err)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def say(text: object = "", *, err: bool = False, end: str = "\n") -> None:
    """Print text, with control characters as escapes; what every command says without rich."""
    stream = sys.stderr if err else sys.stdout
    if stream is not None:
        stream.write(printable(str(text)) + end)
        stream.flush()
