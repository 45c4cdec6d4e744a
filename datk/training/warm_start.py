"""Start a run from the weights of another one (`--init`)."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from datk.base.errors import RunError
from datk.training.checkpoints import Checkpoints, State
from datk.training.objective import Objective


@dataclass(frozen=True)
class Initial:
    """The model of another run, taken apart."""

    folder: Path
    backbone: State
    terms: State
    standardizers: State


def load_initial(folder: str | Path) -> Initial:
    """The model that a run folder holds. Raises `RunError` if there is none."""
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise RunError(f"--init {folder}: no such run folder")
    state = Checkpoints(path).load_selected()

    def under(prefix: str) -> State:
        return {
            name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)
        }

    return Initial(path, under("objective.backbone."), under("objective.terms."), under("standardizers."))


def initialize(objective: Objective, initial: Initial) -> None:
    """Copy the backbone's weights, and those of the loss terms that both runs have.

    Raises:
        RunError: a weight is missing, or has another shape; names the first.
    """
    mine = objective.backbone.state_dict()
    _copy(mine, initial.backbone, initial.folder, "backbone")
    if extra := sorted(initial.backbone.keys() - mine.keys()):
        raise RunError(
            f"--init {initial.folder}: backbone weight '{extra[0]}' is there but not here; "
            "use the same backbone with the same options"
        )
    for name, term in objective.terms.items():
        prefix = f"{name}."
        theirs = {k.removeprefix(prefix): v for k, v in initial.terms.items() if k.startswith(prefix)}
        if theirs:
            _copy(term.state_dict(), theirs, initial.folder, name)


def _copy(mine: dict[str, Tensor], theirs: State, folder: Path, owner: str) -> None:
    for name, tensor in mine.items():
        if name not in theirs or theirs[name].shape != tensor.shape:
            was = f"{list(theirs[name].shape)} there" if name in theirs else "missing there"
            raise RunError(
                f"--init {folder}: {owner} weight '{name}' is {list(tensor.shape)} here and {was}; "
                "use the same backbone, image shape and classes"
            )
        tensor.copy_(theirs[name])
