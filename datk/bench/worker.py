"""A run of a suite in a process of its own, `python -m datk.bench.worker`.

Its input brings a line of JSON, what to run and where, and stays open for as long as the bench lives: however
the bench ends, its runs end with it, and nothing writes into their folders any more.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from datk.base.errors import BusyError, DatkError
from datk.base.text import one_line
from datk.config.faults import exception_text, plugin_fault
from datk.config.resolve import resolve
from datk.runs.run import execute

SECONDS_BETWEEN_LOOKS = 0.2
"""After which a folder that another process writes into is looked at again."""


ERROR = "error: "
"""What the line begins with that says why a run failed."""


def request(config: dict[str, Any], out: Path) -> str:
    """The line that a worker is given."""
    return json.dumps({"config": config, "out": str(out), "command": sys.argv}) + "\n"


def main() -> None:
    """Do what the input says; the last line of the error output is the reason if that fails."""
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_bench, daemon=True).start()
    sys.argv = asked["command"]  # what environment.json tells of
    try:
        _run(asked["config"], Path(asked["out"]))
    except (Exception, SystemExit) as error:
        text = str(error) if isinstance(error, DatkError) else _fault(error)
        sys.stderr.write(f"{ERROR}{one_line(text)}\n")
        sys.stderr.flush()
        sys.exit(2)


def _run(config: dict[str, Any], out: Path) -> None:
    while True:
        try:
            execute(resolve(config=config), out, resume=True)
            return
        except BusyError:  # one that came in between
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _fault(error: BaseException) -> str:
    fault, _ = plugin_fault(error) or (exception_text(error), True)
    return fault


def _end_with_the_bench() -> None:
    """Wait for the end of the input, then end this process and those that it started."""
    while os.read(0, 1):  # not through sys.stdin, whose lock would be held when the interpreter ends
        pass
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
