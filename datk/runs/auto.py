"""The alignment `auto`: which candidates a run of it trains.

It is a name that configurations, suites and `datk plugins` know, and no loss: `datk.runs.run.execute` makes a
run of runs of it, see `datk.runs.vote`.
"""

from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, field_validator, model_validator
from torch import Tensor

from datk.base.errors import PluginError, did_you_mean
from datk.config import plugins
from datk.config.models import Options
from datk.config.resolve import Experiment, component_class, resolve
from datk.interfaces import AlignmentLoss, SourceView, Step, TargetView, TermConfig
from datk.runs.candidates import SOURCE_ONLY, VOTE

ESTIMATE: Options = {"train": {"label_shift": "estimate"}}
"""What aligns domains does the most harm where classes have other shares in the target."""

CANDIDATES: dict[str, Options] = {
    SOURCE_ONLY: {"align": "datk:none", "data": {"standardize": "source"}},
    "per-domain": {"align": "datk:none", "data": {"standardize": "per-domain"}},
    "mmd": {"align": "datk:mmd", **ESTIMATE},
    "coral": {"align": "datk:coral", **ESTIMATE},
    "dann": {"align": "datk:dann", **ESTIMATE},
}
"""By name the options in which a candidate differs from the run that it is a candidate of."""


def _names(value: Any) -> Any:
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


class AutoConfig(TermConfig):
    """Options of `auto`. It has no loss of its own that could have a weight or a ramp."""

    candidates: Annotated[
        tuple[str, ...], BeforeValidator(_names, json_schema_input_type=str | list[str])
    ] = tuple(CANDIDATES)
    """What is trained: `source-only`, which must be among them as the others are measured by it, `per-domain`
    (source-only with data.standardize=per-domain), and any alignments by their names, with their default
    options."""

    @field_validator("candidates")
    @classmethod
    def _are_there(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        full = [name if name in CANDIDATES else _alignment(name) for name in names]
        folders = [folder_of(name) for name in full]
        if repeated := sorted({folder for folder in folders if folders.count(folder) > 1}):
            raise ValueError(f"'{repeated[0]}' is named twice")
        if SOURCE_ONLY not in full:
            raise ValueError(f"{SOURCE_ONLY} must be among them: the others are measured by it")
        return (SOURCE_ONLY, *(name for name in full if name != SOURCE_ONLY))

    @model_validator(mode="after")
    def _has_no_weight(self) -> "AutoConfig":
        if (self.weight, self.ramp) != (1.0, "constant"):
            raise ValueError("auto has no loss of its own; weight and ramp are options of its candidates")
        return self


def _alignment(name: str) -> str:
    """The full name of an alignment. Raises `ValueError` for one that cannot be a candidate."""
    known = {*CANDIDATES, *(plugin.name for plugin in plugins.find("alignment"))} - {"auto", "none"}
    try:
        full = plugins.resolve("alignment", name).reference
    except PluginError as error:
        about = did_you_mean(name, known) if str(error).startswith("unknown") else f": {error}"
        raise ValueError(f"there is no candidate '{name}'{about}") from None
    if full in (VOTE, "datk:none"):
        raise ValueError(f"'{name}' is no candidate{did_you_mean(name, known)}")
    return full


def folder_of(candidate: str) -> str:
    """The short name of a candidate, which its folder has."""
    return candidate if candidate in CANDIDATES else plugins.resolve("alignment", candidate).label


class Auto(AlignmentLoss):
    """Trains several methods and lets them vote: source-only, per-domain z-scores, MMD, CORAL, DANN.

    All are trained with the same split and seed, so that it costs about as many times a run as there are
    candidates. Those whose predictions for the target's unlabelled rows tell less than 0.9 of what
    source-only's tell have collapsed and are dropped. The others' probabilities are averaged. No target label
    has a part in that.

    The run folder holds an ordinary run of each candidate in candidates/NAME.
    """

    Config = AutoConfig
    alone: ClassVar[bool] = True
    needs_target: ClassVar[bool] = False

    def forward(self, source: SourceView, target: TargetView, step: Step) -> Tensor:
        """Zero, with no gradient: the losses are those of its candidates."""
        return source.features.new_zeros(())


def differing(experiment: Experiment, layer: Options) -> Experiment:
    """An experiment with other options; where samples are not standardised, or by the constants of another
    run, that stays so."""
    config = experiment.config
    if config.data.standardize == "none" or config.init_normalization == "inherited":
        layer = {key: value for key, value in layer.items() if key != "data"}
    other = resolve(config=[config.model_dump(mode="json"), layer])
    return replace(other, pair=experiment.pair)  # with arrays in memory, which no configuration holds


def members(experiment: Experiment) -> tuple[dict[str, Experiment], dict[str, str]]:
    """The experiments of the candidates by the names of their folders, source-only first, and why others
    cannot be trained here.

    Raises:
        ConfigError, PluginError: as `datk.config.resolve.resolve`.
    """
    (auto,) = experiment.align
    found: dict[str, Experiment] = {}
    left_out: dict[str, str] = {}
    for name in auto.config.candidates:
        layer = CANDIDATES.get(name, {"align": name})
        cls = component_class(plugins.resolve("alignment", layer["align"]))
        if cls.needs_classes and not experiment.task.cls.predicts_classes:
            left_out[folder_of(name)] = "it needs classes"
            continue
        one = differing(experiment, layer)
        twin = next((other for other in found if found[other].config == one.config), None)
        if twin is not None:
            left_out[folder_of(name)] = f"it is the same as {twin} here"
        else:
            found[folder_of(name)] = one
    return found, left_out
