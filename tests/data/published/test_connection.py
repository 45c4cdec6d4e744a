"""Requests and how often they are tried; most of it is tested with the downloads that need it."""

import socket
import ssl
from urllib.error import URLError

import pytest

from datk.base.errors import DataError
from datk.data.published.connection import Patience, TransientError, network, read_url
from datk.data.published.progress import Progress
from tests.data.published.record_server import Archive, Fault


@pytest.fixture
def archive(tmp_path):
    archive = Archive(tmp_path)
    yield archive
    archive.close()


def test_a_text_is_read_again_if_it_was_cut(archive):
    archive.faults["record.json"] = Fault(cut_at=10)
    waits = []
    text = read_url(archive.url + "record.json", Progress(), Patience(sleep=waits.append))
    assert text == archive.content("record.json")
    assert len(waits) == 1


def test_a_text_that_never_comes_whole(archive):
    archive.faults["record.json"] = Fault(times=100, stall_at=10)
    impatience = Patience(tries=2, timeout=0.1, sleep=lambda _: None)
    with pytest.raises(DataError, match="the server fell silent, 2 tries in a row"):
        read_url(archive.url + "record.json", Progress(), impatience)


@pytest.mark.parametrize("url", ["http://[", "http:///x", "http://a b/"])
def test_an_address_that_is_none(url):
    with pytest.raises(DataError, match="http"):
        read_url(url, Progress(), Patience(tries=2, sleep=lambda _: None))


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (ConnectionResetError(104, "Connection reset by peer"), "Connection reset by peer"),
        (URLError(socket.gaierror(-2, "Name or service not known")), "Name or service not known"),
        (URLError("no host given"), "no host given"),
        (TimeoutError(), "fell silent"),
        (ConnectionError(), "ConnectionError"),
    ],
)
def test_what_may_be_over_at_the_next_try(failure, text):
    with pytest.raises(TransientError, match=text), network():
        raise failure


def test_a_server_that_cannot_be_trusted_is_not_asked_again():
    with pytest.raises(DataError, match="cannot be trusted"), network():
        raise URLError(ssl.SSLCertVerificationError("certificate has expired"))
