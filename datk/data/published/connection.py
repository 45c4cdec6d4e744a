"""One HTTP request, and how often it is tried."""

import email.utils
import http.client
import random
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

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
    window: float = 30.0
    """For how long little may come before a connection is given up, headers and all."""
    least_rate: float = 1000.0
    """Bytes per second of content that have to come in a window."""
    sleep: Callable[[float], None] = field(default=time.sleep)


class TransientError(Exception):
    """A failure that may be over at the next try, and how many seconds the server asks to wait."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class TooSlowError(TransientError):
    """A connection that was given up because too little came."""


class RangeRefusedError(Exception):
    """Status 416."""


class Watch:
    """Ends a connection over which less comes than patience demands, whatever the server is at: a greeting,
    headers, sizes of chunks or content a byte at a time never make a read time out.

    Example:
        with Watch(patience) as watch, answer(url, {}, 30.0, watch) as response: ...
    """

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self.total = 0
        self.too_slow = False
        self.over = threading.Event()
        self.sockets: list[socket.socket] = []
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watch":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()
        for connected in self.sockets:
            connected.close()

    def came(self, size: int) -> None:
        """So many bytes of content more."""
        self.total += size

    def _watch(self) -> None:
        before = 0
        while not self.over.wait(self.patience.window):
            if self.total - before < self.patience.least_rate * self.patience.window:
                self.too_slow = True
                for connected in self.sockets:
                    with suppress(OSError):  # closed meanwhile
                        connected.shutdown(socket.SHUT_RDWR)
            before = self.total

    def error(self) -> TooSlowError:
        """What to say of a connection that was ended."""
        rate = f"{self.patience.least_rate / 1000:g} kB/s"
        return TooSlowError(f"the server is too slow: less than {rate} for {self.patience.window:g} s")

    def opener(self) -> urllib.request.OpenerDirector:
        """What opens connections that are watched."""
        watch = self

        def connect(*arguments: Any, **options: Any) -> socket.socket:
            made = socket.create_connection(*arguments, **options)
            watch.sockets.append(made.dup())  # the one itself is taken over by TLS, greeting and all
            return made

        def watched(cls: type[http.client.HTTPConnection]) -> Callable[..., http.client.HTTPConnection]:
            def make(*arguments: Any, **options: Any) -> http.client.HTTPConnection:
                connection = cls(*arguments, **options)
                connection._create_connection = connect  # type: ignore[attr-defined]
                return connection

            return make

        class HttpHandler(urllib.request.HTTPHandler):
            def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
                return self.do_open(watched(http.client.HTTPConnection), req)

        class HttpsHandler(urllib.request.HTTPSHandler):
            def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
                return self.do_open(watched(http.client.HTTPSConnection), req)

        return urllib.request.build_opener(HttpHandler, HttpsHandler)


@contextmanager
def network(watch: Watch | None = None) -> Iterator[None]:
    """Turn a failing connection into a transient error, or into an error where another try cannot help."""
    try:
        yield
    except TimeoutError:
        raise (watch.error() if watch and watch.too_slow else _silent()) from None
    except (OSError, http.client.HTTPException) as error:
        if watch is not None and watch.too_slow:
            raise watch.error() from None
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise DataError(
                f"the server cannot be trusted: {reason}; see to the clock and certificates"
            ) from None
        if isinstance(reason, TimeoutError):
            raise _silent() from None
        text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        raise TransientError(text) from None
    if watch is not None and watch.too_slow:  # a connection that is shut down reads as one that ended
        raise watch.error()


def _silent() -> TransientError:
    return TransientError("the server fell silent")


def answer(url: str, headers: dict[str, str], timeout: float, watch: Watch) -> http.client.HTTPResponse:
    """An open response with status 200 or 206."""
    headers = {"User-Agent": f"datk/{__version__}", "Accept-Encoding": "identity", **headers}
    with network(watch):
        try:
            response: http.client.HTTPResponse = watch.opener().open(
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
    """Call `attempt` until it succeeds, or failed too often without getting further. Further is what came as
    fast as patience demands, waits included: a byte now and then would go on for ever."""
    failures, before, since = 0, reached(), time.monotonic()
    while True:
        try:
            return attempt()
        except TransientError as error:
            enough = max(1.0, patience.least_rate * (time.monotonic() - since))
            failures = 1 if reached() - before >= enough else failures + 1
            before, since = reached(), time.monotonic()
            # A server that is slow twice in a row was given time enough.
            if failures >= (min(2, patience.tries) if isinstance(error, TooSlowError) else patience.tries):
                raise DataError(
                    f"{url}: {error}, {failures} tries in a row; see to the connection and give the same "
                    "command again, it goes on where this one stopped; or download the files in another way "
                    "and name their folder with --from"
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
        with Watch(patience) as watch, answer(url, {}, patience.timeout, watch) as response, network(watch):
            text = response.read(LARGEST_TEXT)
            if len(text) < LARGEST_TEXT and response.length and not watch.too_slow:
                raise TransientError("the connection was cut")
            return text

    return persist(attempt, lambda: 0, url, progress, patience)
