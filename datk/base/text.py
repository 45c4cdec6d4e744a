"""Text that came from elsewhere (names of arrays and files, notes, docstrings, messages of exceptions), made
fit for a terminal, a log or a table."""

import re
import unicodedata

HARMFUL = {"Cc", "Cs", "Zl", "Zp"}
"""Categories of characters that move the cursor, colour the screen, break lines or cannot be encoded."""

BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that let what follows be shown in another order than it is written in."""

ASCII = str.maketrans({
    "±": "+/-", "–": "-", "—": "-", "×": "x", "…": "...", "†": "+", "‡": "++", "≥": ">=", "≤": "<=", "§": "!",
    "•": "*", "µ": "u", "²": "^2", "‘": "'", "’": "'", "“": '"', "”": '"',
})  # fmt: skip
"""What stands in for characters that a terminal's encoding may lack."""


def printable(text: str, keep: str = "\n\t") -> str:
    r"""The text with control characters, lone surrogates and marks of direction as escapes.

    The form of the escapes is that of JSON, so that a string in TOML or JSON still means the same.

    Example:
        >>> printable("a\x1b[31mred")
        'a\\u001b[31mred'
    """
    return "".join(
        f"\\u{ord(character):04x}" if character not in keep and _harmful(character) else character
        for character in text
    )


def _harmful(character: str) -> bool:
    return unicodedata.category(character) in HARMFUL or character in BIDI


def one_line(text: str) -> str:
    """`printable` on a single line: a space stands in for line breaks and the indentation around them."""
    return printable(re.sub(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*", " ", text.strip()), keep="")


def shortened(text: str, limit: int = 1000) -> str:
    """The beginning and the end of a text that is longer than a screen, as one with a huge name in it is."""
    half = (limit - 5) // 2
    return text if len(text) <= limit else f"{text[:half]} ... {text[-half:]}"


def encodable(text: str, encoding: str | None) -> str:
    """The text as an encoding can say it: ± as +/-, and what it lacks and has no stand-in as an escape."""
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        known = encoding or "utf-8"
        spoken = (c if _can(c, known) else c.translate(ASCII) for c in text)
        return "".join(spoken).encode(known, "backslashreplace").decode(known)
    except LookupError:
        return text.translate(ASCII).encode("ascii", "backslashreplace").decode()
    return text


def _can(character: str, encoding: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
