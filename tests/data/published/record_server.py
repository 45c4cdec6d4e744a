"""A published record of a few rows, and an archive on 127.0.0.1 that serves it, well or badly."""

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import numpy as np
import pytest

from datk.base.errors import DataError
from datk.data.published.connection import Patience
from datk.data.published.fetch import fetch
from datk.data.published.records import Record, RecordFile, data_folder

FILES = {"source/x": "SX.npy", "source/y": "sy.npy", "target/x": "TX.npy", "target/y": "ty.npy"}
ROWS = 20
ETAG = '"1"'


def arrays(seed=0):
    """Images in float64 and labels stored as floats, as they were published."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(ROWS) % 2).astype(np.float64)
    return {
        "source/x": rng.normal(2.0, 3.0, (ROWS, 3, 8, 8)),
        "source/y": labels,
        "target/x": rng.normal(-1.0, 1.0, (ROWS, 3, 8, 8)),
        "target/y": labels[::-1].copy(),
    }


def write(folder, content):
    """The .npy files of a record."""
    folder.mkdir(exist_ok=True)
    for key, array in content.items():
        np.save(folder / FILES[key], array)
    return folder


def record_for(folder, content, url="http://127.0.0.1:9/", **fields):
    """The record of files that `write` wrote."""

    def file(key):
        moments = {}
        if key.endswith("/x"):
            images = content[key]
            moments = {"mean": tuple(images.mean((0, 2, 3))), "std": tuple(images.std((0, 2, 3)))}
        return RecordFile(FILES[key], (folder / FILES[key]).stat().st_size, **moments)

    files = {key: file(key) for key in FILES}
    defaults = {
        "name": "tiny-sky",
        "publication": "tiny",
        "title": "a tiny sky",
        "reference": "Nobody (2020)",
    }
    return Record(url=url, files=files, **(defaults | fields))


def entry(folder, base="", **more):
    """What Zenodo's API says of the files in a folder."""

    def described(path):
        content = path.read_bytes()
        checksum = f"md5:{hashlib.md5(content).hexdigest()}"
        link = {"self": f"{base}{path.name}"}
        return {"key": path.name, "size": len(content), "checksum": checksum, "links": link}

    return {
        "id": 1,
        "doi": "10.1/tiny",
        "metadata": {"title": "Tiny sky", "license": {"id": "cc-by-4.0"}},
        "files": [described(path) for path in sorted(folder.glob("*.npy"))],
        **more,
    }


@dataclass
class Fault:
    """What the server does wrong with the next requests for a file."""

    times: int = 1
    status: int | None = None
    headers: dict = field(default_factory=dict)
    cut_at: int | None = None
    """Bytes of this answer after which the connection is closed."""
    stall_at: int | None = None
    """Bytes of this answer after which nothing more comes."""
    drip: str = ""
    """What comes a byte at a time without end: "headers" or "body"."""
    shift: int = 0
    """Send a range that starts so many bytes later than was asked."""
    flip: bool = False
    """Send a wrong first byte."""
    longer: int = 0
    """Announce so many bytes more."""
    called: object = None
    """Function that is called when half of the answer has been sent and read."""


class Archive:
    """Serves a folder as files and record.json; remembers the requests and counts the bytes of files."""

    def __init__(self, folder, **more):
        self.folder, self.more = folder, more
        self.text = None
        """Replaces record.json."""
        self.faults = {}
        self.ranges = True
        self.requests = []
        self.served = {}
        self.over = threading.Event()
        archive = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                archive.answer(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # clients hang up
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def close(self):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()

    def content(self, name):
        if name != "record.json":
            path = self.folder / name
            return path.read_bytes() if path.is_file() else None
        text = self.text if self.text is not None else json.dumps(entry(self.folder, self.url, **self.more))
        return text.encode()

    def answer(self, request):
        name = unquote(request.path).lstrip("/")
        self.requests.append((name, request.headers.get("Range")))
        fault = self.faults.get(name, Fault(0))
        fault, fault.times = (fault if fault.times > 0 else Fault()), fault.times - 1
        content = self.content(name)
        if fault.status is not None or content is None:
            request.send_response(fault.status or 404)
            for header in fault.headers.items():
                request.send_header(*header)
            request.end_headers()
            return
        if fault.drip == "headers":
            self.drip(request, b"HTTP/1.1 200 OK\r\nX: " + b"x" * 60_000)
            return
        start = self.start(request, len(content)) + fault.shift
        body = content[start:]
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("ETag", ETAG)
        request.send_header("Content-Length", str(len(body) + fault.longer))
        request.end_headers()
        if fault.drip == "body":
            self.drip(request, body)
            return
        self.send(request, name, bytes([body[0] ^ 1]) + body[1:] if fault.flip else body, fault)

    def drip(self, request, content):
        for byte in content:
            request.wfile.write(bytes([byte]))
            request.wfile.flush()
            if self.over.wait(0.02):
                return

    def start(self, request, size):
        """Where an answer begins: at the start of a range that the server grants."""
        asked = request.headers.get("Range")
        known = request.headers.get("If-Range", ETAG) == ETAG
        start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked and self.ranges and known else 0
        return start if start < size else 0

    def send(self, request, name, body, fault):
        stop = min((at for at in (fault.cut_at, fault.stall_at) if at is not None), default=len(body))
        body = body[:stop]
        half = len(body) // 2
        for number, piece in enumerate((body[:half], body[half:])):
            if name != "record.json":
                self.served[name] = self.served.get(name, 0) + len(piece)
            request.wfile.write(piece)
            request.wfile.flush()
            if fault.called and number == 0:
                self.over.wait(0.1)
                fault.called()
                self.over.wait(0.1)
        if fault.stall_at is not None:
            self.over.wait(5)


# --- what tests of fetching share ----------------------------------------------------------------------

AT_ONCE = Patience(sleep=lambda _: None, timeout=5.0)


def names(folder):
    return {path.name for path in folder.iterdir()}


def failing(record, *arguments, **options):
    with pytest.raises(DataError) as error:
        fetch(record, *arguments, patience=AT_ONCE, **options)
    assert names(data_folder() / record.name) & {"data.h5", "data.h5.part", "manifest.json"} == set()
    return str(error.value)
