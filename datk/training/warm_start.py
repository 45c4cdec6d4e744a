"""Start a run from the weights of another one (`--init`)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from datk.base.errors import RunError
from datk.interfaces import PairInfo
from datk.training.checkpoints import Checkpoints, State, weights_checksum
from datk.training.objective import Objective


@dataclass(frozen=True)
class Initial:
    """The model of another run, taken apart."""

    folder: Path
    backbone: State
    terms: State
    standardizers: State
    about: dict[str, Any] = field(default_factory=dict)
    """What it was trained on, see `about`; empty if a version wrote it that did not say so."""
    sha256: str = ""
    """Checksum of the weights that were read."""


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

    return Initial(
        path,
        under("objective.backbone."),
        under("objective.terms."),
        under("standardizers."),
        Checkpoints(path).selected_about(),
        weights_checksum(state),
    )


def about(info: PairInfo) -> dict[str, Any]:
    """What a model is of, for runs that start from it."""
    return {
        "classes": list(info.classes),
        "targets": list(info.targets),
        "shape": list(info.shape),
        "domains": list(info.domains),
    }


def compare(initial: Initial, info: PairInfo, by_source: bool) -> str | None:
    """See that a model was trained on the same classes, numbers and channels, in the same order, as it would
    else be taken for something that it is not. What must be said if that cannot be seen.

    Args:
        by_source: whether what is taken over has a part for each of several sources.

    Raises:
        RunError: they differ; it says how.
    """
    there, here = initial.about, about(info)
    if not there.keys() >= here.keys():
        return (
            f"--init {initial.folder}: an earlier version of datk trained it and did not record classes and "
            "channels; see that they are the same here, in the same order"
        )
    where = f"--init {initial.folder}"
    kinds = ["classes" if of["classes"] else "numbers" for of in (there, here)]
    if kinds[0] != kinds[1]:
        raise RunError(f"{where}: that run predicts {kinds[0]}, and this one {kinds[1]}; start from another")
    _compare_names(where, "classes", there["classes"], here["classes"])
    if max(len(there["targets"]), len(here["targets"])) > 1:
        _compare_names(where, "targets", there["targets"], here["targets"])
    if len(there["shape"]) != len(here["shape"]) or there["shape"][0] != here["shape"][0]:
        samples = [_samples(of["shape"]) for of in (there, here)]
        raise RunError(
            f"{where}: that run is on {samples[0]}, and this one on {samples[1]}; give the same ones, in the "
            "same order"
        )
    if by_source and sorted(there["domains"]) == sorted(here["domains"]):
        _compare_names(where, "sources", there["domains"][:-1], here["domains"][:-1])
    return None


def _compare_names(where: str, what: str, there: list[str], here: list[str]) -> None:
    if there == here:
        return
    both = f"{_listed(there)} there and {_listed(here)} here"
    if sorted(there) == sorted(here):
        raise RunError(
            f"{where}: the {what} are in another order, {both}; number them in the order of that run"
            + (f" (pair.{what} of `arrays`)" if what != "sources" else "")
        )
    raise RunError(f"{where}: the {what} are {both}; a model can go on with the same {what} only")


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:10])) + (f", ... ({len(names)} in all)" if len(names) > 10 else "")


def _samples(shape: list[int]) -> str:
    if len(shape) == 1:
        return f"vectors of {shape[0]} features"
    return f"images of {shape[0]} channel{'' if shape[0] == 1 else 's'}"


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
