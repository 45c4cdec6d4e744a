"""How a fetch tells how far it is."""


class Progress:
    """Is told how a fetch goes on; says nothing. A subclass shows it."""

    def begin(self, what: str, total: int, done: int = 0) -> None:
        """A part of the work begins, `total` bytes of it, `done` of which were done before."""

    def advance(self, size: int) -> None:
        """So many bytes more; fewer if negative."""

    def note(self, text: str) -> None:
        """Something the user should know."""

    def stop(self) -> None:
        """The work ended, well or not."""
