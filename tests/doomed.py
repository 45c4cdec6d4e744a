"""Runs that are killed: one process that forks a child for each request, so that all is imported once.

Reads lines of JSON from its input, {"run": arguments of datk.run, "kill": [event, number] or null} or
{"cli": arguments of datk, "kill": ...}; after each it writes the signal or the exit code that ended the
child. The child is killed with SIGKILL

- at a `step` or after an `epoch`, as reporters are told of it;
- at `setup`, that is before anything is trained;
- while a file is written: `half FILE` with half of it written, `before FILE` with all of it but not yet in
  its place, `after FILE` with the file in its place; the number counts the writes of that file.
"""

import json
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path

import torch

import datk
from datk.cli import python as api
from datk.cli.main import main as cli
from datk.training.loop import Trainer
from datk.training.report import Reporter
from tests.toys import TOYS


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class Doom(Reporter):
    """Kills its process at a step or an epoch."""

    def __init__(self, event, number):
        self.event, self.number = event, number

    def advanced(self, step):
        if (self.event, self.number) == ("step", step):
            die()

    def epoch_ended(self, record):
        if (self.event, self.number) == ("epoch", record["epoch"]):
            die()


def doom_setup():
    Trainer.fit = lambda self: die()


def doom_writes(when, name, number):
    """Kill at the given write of a file; `os.fsync` and `Path.replace` are what every write goes through."""
    seen = {"fsync": 0, "replace": 0}
    fsync, replace = os.fsync, Path.replace

    def doomed_fsync(file):
        if Path(f"/proc/self/fd/{file}").readlink().name == f"{name}.part":
            seen["fsync"] += 1
            if when == "half" and seen["fsync"] == number:
                os.ftruncate(file, os.fstat(file).st_size // 2)
                die()
        fsync(file)

    def doomed_replace(self, target):
        mine = Path(target).name == name
        seen["replace"] += mine
        if mine and when == "before" and seen["replace"] == number:
            die()
        replace(self, target)
        if mine and when == "after" and seen["replace"] == number:
            die()

    os.fsync, Path.replace = doomed_fsync, doomed_replace


def child(request):
    sys.stdout = sys.stderr  # the output is for the answers
    event, number = request.get("kill") or ("", 0)
    when, _, name = event.partition(" ")
    if event == "setup":
        doom_setup()
    elif name:
        doom_writes(when, name, number)
    if "cli" in request:
        cli(request["cli"])
        return
    original = api.execute

    def execute(*arguments, **options):
        return original(*arguments, **{**options, "reporters": [Doom(event, number)]})

    api.execute = execute
    datk.run(**request["run"])


def warm_up():
    """A small run, which imports what children would import again and again."""
    with tempfile.TemporaryDirectory() as folder:
        datk.run(pair=TOYS + "Toy", backbone="mlp", align="none", epochs=1, out=Path(folder) / "run")


def main():
    torch.set_num_threads(1)
    warm_up()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                child(json.loads(line))
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), flush=True)


if __name__ == "__main__":
    main()
