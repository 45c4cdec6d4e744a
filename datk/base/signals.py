"""Signals that ask a program to end, heard as Ctrl-C is: what was reached is written before it does."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ASKING = ("SIGTERM", "SIGHUP")
"""Signals of a system or a batch scheduler, and of a terminal that is closed."""


@contextmanager
def stopped_by_signals() -> Iterator[list[int]]:
    """Raise `KeyboardInterrupt` at SIGTERM and SIGHUP; the list holds the signals that came.

    A signal that is ignored, as nohup has it, stays ignored. Nothing changes outside the main
    thread.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    before = {}
    for name in ASKING:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            before[number] = signal.signal(number, interrupt)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
