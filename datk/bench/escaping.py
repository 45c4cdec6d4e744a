"""Text of suites, errors and notes on its way into a page or a table, where some of it would mean something
else than it says."""

import re

from datk.base.text import one_line


def in_markdown(text: str) -> str:
    """The text on one line, in a cell of a table too: a bar and a tag are shown as they are."""
    line = one_line(text).replace("&", "&amp;") if _looks_like_entity(text) else one_line(text)
    return line.replace("<", "&lt;").replace("\\|", "&#92;|").replace("|", r"\|")


def _looks_like_entity(text: str) -> bool:
    """Whether an ampersand would begin a character of HTML."""
    return re.search(r"&(#\w+|\w+);", text) is not None


def in_csv(text: str) -> str:
    """The text on one line, behind an apostrophe where a spreadsheet would take it for a formula."""
    line = one_line(text)
    return f"'{line}" if re.match(r"[\s'\"]*[=+\-@]", line) else line
