"""Run folders that nobody named."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from datk.base import processes
from datk.base.files import remove_empty, writing
from datk.config.resolve import Experiment

HOME = Path("runs")
LONGEST = 180
"""Characters of a name, of which file systems take 255 bytes."""


@contextmanager
def new_folder(experiment: Experiment, seeds: Sequence[int]) -> Iterator[Path]:
    """A folder under runs/ of one's own, named for the time, the components and the seed. It is removed again
    if nothing comes into it. Raises `RunError` if it cannot be made."""
    new = [folder for folder in (HOME,) if not folder.exists()]
    path = Path(processes.agree(str(_made(_name(experiment, seeds))) if processes.leads() else ""))
    try:
        yield path
    finally:
        if processes.leads():
            remove_empty([path, *new])


def _name(experiment: Experiment, seeds: Sequence[int]) -> str:
    labels = [chosen.label for chosen in (experiment.backbone, *experiment.align, *experiment.reg)]
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    which = f"seed-{seeds[0]}" if len(seeds) == 1 else f"{len(seeds)}-seeds"
    what = re.sub(r"[^\w.+-]+", "-", f"{experiment.pair.label}-{'-'.join(labels)}")
    return f"{stamp}-{what[:LONGEST]}-{which}"


def _made(name: str) -> Path:
    """A folder that is there only now: of several processes that want the same name one gets it, and the
    others get a number."""
    number = 1
    while True:
        path = HOME / (name if number == 1 else f"{name}-{number}")
        with writing(path):
            HOME.mkdir(exist_ok=True)
            try:
                path.mkdir()
            except FileExistsError:
                number += 1
            except FileNotFoundError:  # runs/ was empty, and somebody else has just removed it
                continue
            else:
                return path
