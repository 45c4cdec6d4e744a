"""Text from elsewhere, made fit for a terminal, a log or a table."""

import json

import pytest

from datk.base.text import encodable, one_line, printable


@pytest.mark.parametrize("character", ["\x1b", "\x07", "\r", "\x7f", "\x9b", "\u202e", "\u2028", "\udcff"])
def test_what_a_terminal_would_obey_becomes_an_escape(character):
    shown = printable(f"a{character}b")
    assert shown == f"a\\u{ord(character):04x}b"
    assert json.loads(f'"{shown}"') == f"a{character}b"
    assert printable(shown) == shown


def test_what_people_read_stays():
    text = "Größe ± 0.1 µm – 星系 \U0001f30c\ttab\nnew line"
    assert printable(text) == text


def test_a_line_is_one_line():
    assert one_line(" first\n   second\r\nthird\x85fourth\u2028fifth ") == "first second third fourth fifth"
    assert one_line("epoch   3  |  loss 1") == "epoch   3  |  loss 1"
    assert one_line("a\tb\x1b[2J") == "a\\u0009b\\u001b[2J"


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "0.712 ± 0.004 – 星"),
        ("ascii", "0.712 +/- 0.004 - \\u661f"),
        ("cp1252", "0.712 ± 0.004 – \\u661f"),
        ("no such encoding", "0.712 +/- 0.004 - \\u661f"),
        (None, "0.712 ± 0.004 – 星"),
    ],
)
def test_what_an_encoding_lacks_is_said_otherwise(encoding, shown):
    assert encodable("0.712 ± 0.004 – 星", encoding) == shown
