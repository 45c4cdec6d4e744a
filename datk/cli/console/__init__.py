"""What the command line shows. The only room that knows rich."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from datk.base.text import encodable, printable


class SafeConsole(Console):
    """A console that shows control characters as escapes, and other characters where its encoding lacks
    some. All that the command line shows with rich goes through one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"highlight": False, "markup": False, **options})

    @property
    def encoding(self) -> str:
        """That of the file, from which rich knows whether frames and bars can be drawn with lines."""
        return (getattr(self.file, "encoding", None) or "utf-8").lower()

    def render_str(self, text: str, **options: Any) -> Text:
        """Strings of tables and titles, before they are measured."""
        return super().render_str(self._safe(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Whatever is shown, after it was laid out."""
        for segment in super().render(renderable, options):
            if segment.control or (segment.text.isascii() and segment.text.isprintable()):
                yield segment
            else:
                yield Segment(self._safe(segment.text), segment.style)

    def _safe(self, text: str) -> str:
        return encodable(printable(text), self.encoding)


def output() -> Console:
    """The console of results."""
    return SafeConsole()


def errors(**options: Any) -> Console:
    """The console of progress and notes."""
    return SafeConsole(stderr=True, **options)


def alarm_line(code: str, message: str) -> Text:
    """An alarm, which is not to be overlooked: its code stands out, what it says can be read."""
    return Text.assemble((f" ALARM {code} ", "bold white on red"), " ", (message, "red"))


def show_whole(table: Table) -> None:
    """Print a table, wider than the terminal if need be: cut numbers would be worse than long lines."""
    width = max(output().width, SafeConsole(width=1000).measure(table).maximum)
    SafeConsole(width=width).print(table)
