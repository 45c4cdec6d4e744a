"""One HTTP request, and how often it is tried."""

import email.utils
import http.client
import random
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from datk.base.errors import DataError
from datk.base.version import __version__
from datk.data.published.progress import Progress

T = TypeVar("T")

LARGEST_TEXT = 1 << 24


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for; times in seconds."""

    tries: int = 6
    """In a row that brought nothing new."""
    timeout: float = 30.0
    """Of silence, after which a connection is given up."""
    first_wait: float = 1.0
    """Before the second try; doubled before each further one."""
    longest_wait: float = 300.0
    sleep: Callable[[float], None] = field(default=time.sleep)


class TransientError(Exception):
    """A failure that may be over at the next try, and how many seconds the server asks to wait."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class RangeRefusedError(Exception):
    """Status 416."""


@contextmanager
def network() -> Iterator[None]:
    """Turn a failing connection into a transient error, or into an error where another try cannot help."""
    try:
        yield
    except TimeoutError:
        raise TransientError("the server fell silent") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise DataError(
                f"the server cannot be trusted: {reason}; see to the clock and certificates"
            ) from None
        text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        raise TransientError(text) from None


def answer(url: str, headers: dict[str, str], timeout: float) -> http.client.HTTPResponse:
    """An open response with status 200 or 206."""
    headers = {"User-Agent": f"datk/{__version__}", "Accept-Encoding": "identity", **headers}
    with network():
        try:
            response: http.client.HTTPResponse = urllib.request.urlopen(
                urllib.request.Request(url, headers=headers), timeout=timeout
            )
            return response
        except ValueError as error:
            raise DataError(f"{url} is no address: {error}") from None
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and "Range" in headers:
                raise RangeRefusedError from None
            said = f"{error.code} {error.reason}"
            if error.code in (408, 429) or error.code >= 500:
                raise TransientError(
                    f"the server says {said}", _retry_after(error.headers.get("Retry-After"))
                ) from None
            raise DataError(
                f"the server says {said} to {url}; see whether the record is still there, or download its "
                "files by hand and name their folder with --from"
            ) from None


def _retry_after(text: str | None) -> float | None:
    """Seconds of a header that holds seconds or a date."""
    if not text:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def persist(
    attempt: Callable[[], T], reached: Callable[[], int], url: str, progress: Progress, patience: Patience
) -> T:
    """Call `attempt` until it succeeds, or failed too often without getting further."""
    failures, before = 0, reached()
    while True:
        try:
            return attempt()
        except TransientError as error:
            failures, before = (1 if reached() > before else failures + 1), reached()
            if failures >= patience.tries:
                raise DataError(
                    f"{url}: {error}, {failures} tries in a row; see to the connection and give the same "
                    "command again, it goes on where this one stopped"
                ) from None
            wait = error.wait
            if wait is None:  # drawn apart from the seeds of runs, so that not all clients come back at once
                wait = min(patience.longest_wait, patience.first_wait * 2 ** (failures - 1))
                wait *= random.uniform(0.5, 1.0)
            if wait > patience.longest_wait:
                raise DataError(f"{url}: {error}, and asks to come back in {wait:.0f} s; do so") from None
            progress.note(f"{error}; trying again in {wait:.0f} s")
            patience.sleep(wait)


def read_url(url: str, progress: Progress, patience: Patience) -> bytes:
    """What a URL holds, up to 16 MiB. Raises `DataError` if the server does not give it."""

    def attempt() -> bytes:
        with answer(url, {}, patience.timeout) as response, network():
            text = response.read(LARGEST_TEXT)
            if len(text) < LARGEST_TEXT and response.length:
                raise TransientError("the connection was cut")
            return text

    return persist(attempt, lambda: 0, url, progress, patience)
