"""Folders of runs that trained others and let them vote (`--align auto`): which they are, and what is theirs.

OUT/config.json ...     as of every run
OUT/candidates/NAME/    the run of each candidate, an ordinary one
"""

from pathlib import Path

from datk.base.errors import RunError
from datk.base.files import read_json, remove_empty
from datk.runs.recognize import FILES, is_run, refuse_links

VOTE = "datk:auto"
"""What the configuration of such a run names as its alignment."""

FOLDER = "candidates"
SOURCE_ONLY = "source-only"
"""The candidate that the others are measured by."""


def is_vote(path: Path) -> bool:
    """Whether a folder holds a run of `--align auto`, complete or not."""
    try:
        return is_run(path) and VOTE in read_json(path / "config.json")["align"]
    except (RunError, TypeError, LookupError):
        return False


def candidates_in(path: Path) -> dict[str, Path]:
    """Folders of the candidates of a run, by name; none of a run that has no candidates."""
    if not is_vote(path):
        return {}
    found = {folder.name: folder for folder in sorted((path / FOLDER).glob("*")) if is_run(folder)}
    for folder in ((path / FOLDER), *found.values()):
        if folder.is_symlink():
            raise RunError(f"{folder} is a link, and a run goes through none; remove it")
    return found


def clear(path: Path) -> None:
    """Remove what the candidates of a run wrote; a file of the user's in their folders stays."""
    for folder in candidates_in(path).values():
        refuse_links(folder)
        for name in FILES:
            if name == "config.json":  # the last: until then the folder is known to be a run's
                remove_empty([folder / "checkpoints"])
            (folder / name).unlink(missing_ok=True)
        remove_empty([folder])
    remove_empty([path / FOLDER])


def demand_one_model(init: str) -> None:
    """Raise `RunError` if the run folder that training is to start from holds a vote of several networks."""
    path = Path(init).expanduser()
    if is_vote(path):
        names = ", ".join(candidates_in(path)) or "none is there yet"
        raise RunError(
            f"--init {init}: a run of --align auto is a vote of several networks, and training starts from "
            f"one; name one of its candidates ({names}), for instance {path / FOLDER / SOURCE_ONLY}"
        )
