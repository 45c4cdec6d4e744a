"""Configuration: the models, and how the layers of `datk.layers` become one `Experiment`: the resolved
configuration and the classes it names.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from datk import layers, plugins
from datk.errors import ConfigError, PluginError, did_you_mean
from datk.interfaces import AlignmentLoss, Backbone, ComponentConfig, DomainPair, Regularizer
from datk.layers import Options
from datk.plugins import Plugin
from datk.splits import Rule

BASES: dict[plugins.Kind, type[Any]] = {
    "pair": DomainPair,
    "backbone": Backbone,
    "alignment": AlignmentLoss,
    "regularizer": Regularizer,
}


class DataConfig(ComponentConfig):
    """How the data are split and held."""

    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    """Shares of training, validation and test rows. Where a pair fixes its test rows, the first two share the
    rest in their ratio."""

    split_seed: int | None = Field(None, ge=0)
    """Seed of the split; the run's seed if not given."""

    memory_gb: float | None = Field(None, gt=0)
    """Rows on disk are copied to memory (to the GPU's where one is used) if a domain takes at most this many
    GiB, and are streamed otherwise; half of what is free if not given."""

    @model_validator(mode="after")
    def _fractions_are_shares(self) -> "DataConfig":
        if min(self.fractions) <= 0 or abs(sum(self.fractions) - 1) > 1e-6:
            raise ValueError("fractions must be three positive numbers that add up to 1")
        return self


class TrainConfig(ComponentConfig):
    """How the model is trained. The optimiser's values are those of DeepMerge II (Ciprijanovic et al. 2021),
    whose code also used amsgrad for its runs with MMD."""

    epochs: int = Field(20, ge=1)
    """Passes over the source's training rows."""

    batch_size: int = Field(128, ge=2)
    """Rows of each domain in a step; a domain with fewer training rows gives all of them."""

    lr: float = Field(1e-3, gt=0)
    """Peak learning rate of Adam."""

    betas: tuple[float, float] = (0.7, 0.8)
    """Adam's decay rates of the first and second moment."""

    eps: float = Field(1e-8, gt=0)
    """Adam's term against division by zero."""

    weight_decay: float = Field(1e-4, ge=0)
    """L2 penalty, coupled as in Adam (not decoupled as in AdamW)."""

    amsgrad: bool = True
    """Whether Adam keeps the largest second moment (AMSGrad)."""

    schedule: Literal["one-cycle", "triangle", "cosine", "constant"] = "one-cycle"
    """Learning rate over the run: up and down once (Smith & Topin 2018), the repeating triangle of
    DeepMerge II's code, a half cosine to zero, or constant."""

    cycle_length: float = Field(8, gt=0)
    """Epochs of a cycle of the triangle; a triangle takes 0.9 of it."""

    augment: Literal["none", "dihedral", "rotate-zoom"] = "none"
    """What is done at random to the training images of both domains: nothing; flips and quarter turns; or
    flips, rotation by any angle and zoom, where what lies outside an image is filled with its mirror image:
    constant corners could give a class away."""

    zoom: tuple[float, float] = (0.9, 1.1)
    """Least and largest magnification of augment=rotate-zoom."""

    balance: int | None = Field(None, ge=1)
    """Source rows of each class in an epoch: a class with fewer is repeated, each time augmented anew, of one
    with more each epoch takes another part. All rows once if not given. The target, whose labels are unknown,
    is never balanced."""

    select: Literal["source-validation-loss", "source-validation-accuracy", "last"] = "source-validation-loss"
    """Which epoch's weights are kept. No rule looks at target labels."""

    patience: int = Field(20, ge=0)
    """Stop after this many epochs without a better one by `select`; 0 never stops early."""

    log_every: int = Field(10, ge=1)
    """Steps between log lines; only then do values leave the device."""

    deterministic: bool = True
    """Use deterministic kernels, so that a seed gives the same weights again on the same machine."""

    save_every: float = Field(10, ge=0)
    """Seconds between checkpoints, at least; 0 writes one after every epoch. A run that ends or fails always
    writes one; one that is killed repeats the epochs after its last one when it is resumed."""

    memory_format: Literal["auto", "contiguous", "channels-last"] = "auto"
    """Order of an image's values in memory, which decides between kernels that differ in speed and in the
    last bits of their results. auto is channels-last on a CPU, where it was measured to be faster."""

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type in which the backbone computes during training (autocast). Weights, losses and evaluation are
    always float32; for float16, in which small gradients would vanish, the loss is scaled."""

    compile: bool = False
    """Translate forward and backward pass into fused kernels (torch.compile), which takes half a minute at
    the start. Where that fails a note says why, and training goes on without."""

    together: bool = False
    """Train several seeds (--seed 0-7) as one program on one device, which a small network leaves mostly
    idle. Each finds what its single run would, up to rounding. Where components cannot be stacked a note says
    why, and the seeds are trained one after another."""

    sync_batch_norm: bool = True
    """Where several processes train together (torchrun): whether batch normalisation sees the whole batch, as
    in a single process, or each process's share of it."""

    graphs: bool = False
    """Record a step once, as a CUDA graph, and replay it: a GPU then need not wait for Python. Components
    may not keep anything in Python from one step to the next. Where there is no GPU, or where it fails, a
    note says so, and training goes on step by step."""

    @model_validator(mode="after")
    def _betas_are_rates(self) -> "TrainConfig":
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError("betas must lie in [0, 1)")
        return self

    @model_validator(mode="after")
    def _zoom_is_a_range(self) -> "TrainConfig":
        if not 0.5 <= self.zoom[0] <= self.zoom[1] <= 2:
            raise ValueError("zoom must be two factors in increasing order between 0.5 and 2")
        return self


class RunConfig(BaseModel):
    """One run, whole: what config.json holds and `--config` reads."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True
    )

    pair: Options = {"name": "mock-mergers"}
    """Domain pair: its name and options."""
    backbone: Options = {"name": "deepmerge"}
    """Backbone: its name and options."""
    align: dict[str, Options] = {"mmd": {}}
    """Alignments by name, each with its options."""
    reg: dict[str, Options] = {}
    """Regularizers by name, each with its options."""
    data: DataConfig = DataConfig()
    """How the data are split and held."""
    split: Rule = "grouped"
    """How rows are dealt to training, validation and test: by object, or by single images as in the code of
    DeepMerge II, which puts views of one object on both sides and so flatters the scores."""
    train: TrainConfig = TrainConfig()
    """How the model is trained."""
    init: str | None = None
    """Run folder whose weights training starts from."""
    init_normalization: Literal["fresh", "inherited"] = "fresh"
    """With `init`: standardise by this pair's training rows, or by the constants of the other run."""
    seed: int = Field(0, ge=0)
    """Seed of every random draw."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""

    @model_validator(mode="after")
    def _inherits_from_somewhere(self) -> "RunConfig":
        if self.init_normalization == "inherited" and self.init is None:
            raise ValueError(
                "init_normalization=inherited takes the constants of another run: name it by --init"
            )
        return self


@dataclass(frozen=True)
class Component:
    """A chosen plugin: its class and its validated options."""

    plugin: Plugin
    reference: str
    """What a configuration calls it: the name as given, with an absolute path for a file."""
    cls: type[Any]
    config: Any

    @property
    def label(self) -> str:
        """Its short name in messages and metrics."""
        return self.plugin.label


@dataclass(frozen=True)
class Experiment:
    """A resolved configuration with the classes that it names."""

    config: RunConfig
    pair: Component
    backbone: Component
    align: tuple[Component, ...]
    reg: tuple[Component, ...]


# --- resolving -----------------------------------------------------------------------------------------


def validate(model: type[BaseModel], options: Mapping[str, Any], section: str = "") -> Any:
    """Validate options against a model; `ConfigError` with one line for the first fault."""
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        faults = error.errors()
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        # A misspelt option is often what another one is missing for.
        unknown = [fault for fault in faults if fault["type"] == "extra_forbidden"]
        raise ConfigError(_explained(model, (unknown or faults)[0], section) + more) from None


def _explained(model: type[BaseModel], fault: ErrorDetails, section: str) -> str:
    parents = [section, *map(str, fault["loc"][:-1])] if section else [*map(str, fault["loc"][:-1])]
    location = ".".join([*parents, *map(str, fault["loc"][-1:])])
    if fault["type"] == "extra_forbidden":
        known = [".".join([*parents, name]) for name in _fields_at(model, fault["loc"][:-1])]
        return f"unknown option '{location}'{did_you_mean(location, known)}"
    if fault["type"] == "missing" and isinstance(fault["loc"][-1], int):
        return f"{'.'.join(parents)} is too short (got {_shortened(fault['input'])})"
    if fault["type"] == "missing":
        return f"option '{location}' must be given"
    if fault["type"] == "value_error":
        return f"{location}: {fault['ctx']['error']}".removeprefix(": ")
    if fault["type"] in ("tuple_type", "list_type"):
        return f"{location} must be a list, written [a, b] (got {_shortened(fault['input'])})"
    reason = re.sub(r"^\w+ should", "must", fault["msg"]).replace(" after validation", "")
    return f"{location} {reason} (got {_shortened(fault['input'])})"


def _fields_at(model: type[BaseModel], parents: Sequence[int | str]) -> list[str]:
    for parent in parents:
        field = model.model_fields.get(str(parent))
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def component_class(plugin: Plugin) -> type[Any]:
    """Load a component's class. Raises `PluginError` if there is none or if it is of another kind."""
    cls = plugins.load(plugin)
    base = BASES[plugin.kind]
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise PluginError(f"{plugin} cannot be used as {plugin.kind}: it is no subclass of {base.__name__}")
    return cls


def component(kind: plugins.Kind, reference: str, options: Mapping[str, Any], section: str) -> Component:
    """Load a component and validate its options. Raises `PluginError` and `ConfigError`."""
    plugin = plugins.resolve(kind, reference)
    cls = component_class(plugin)
    full = reference if plugin.dist else plugin.name
    return Component(plugin, full, cls, validate(cls.Config, options, section))


def _components(kind: plugins.Kind, section: str, selection: dict[str, Options]) -> tuple[Component, ...]:
    return tuple(
        component(kind, name, options, f"{section}.{name.rpartition(':')[2]}")
        for name, options in selection.items()
    )


def _dump(chosen: Component) -> Options:
    options: Options = chosen.config.model_dump(mode="json")
    return options


def resolve(
    *,
    recipe: str | None = None,
    config: str | Path | Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    selectors: Mapping[str, Any] | None = None,
    overrides: Iterable[str] | Mapping[str, Any] = (),
) -> Experiment:
    """Merge the layers and resolve the components they name.

    Args:
        recipe: name of an installed recipe, or the path of a .toml file.
        config: path of a TOML or JSON file, a dictionary of the same form, or several dictionaries, each over
            those before it.
        selectors: top-level keys given by flags; `epochs` stands for `train.epochs`. None means not given.
        overrides: texts `key=value`, or values by dotted key.

    Raises:
        ConfigError: an unknown key or a value out of range.
        PluginError: a component that cannot be found or loaded.
    """
    flags = {key: value for key, value in (selectors or {}).items() if value is not None}
    if "epochs" in flags:
        flags["train"] = {"epochs": flags.pop("epochs")}
    if isinstance(config, str | Path):
        config = layers.read_file(config)
    configs = [config] if isinstance(config, Mapping) else list(config or ())
    stack = [layers.read_recipe(recipe) if recipe is not None else {}, *configs, flags]
    options: Options = RunConfig().model_dump(mode="json")
    for layer in stack:
        options = layers.merge(options, layer)
    pairs = overrides.items() if isinstance(overrides, Mapping) else map(layers.parse_override, overrides)
    for key, value in pairs:
        layers.override(options, layers.parse_key(key) if isinstance(key, str) else key, value)

    merged: RunConfig = validate(RunConfig, options)
    named: dict[str, Component] = {}
    for kind in ("pair", "backbone"):
        rest = {key: value for key, value in options[kind].items() if key != "name"}
        named[kind] = component(kind, str(options[kind]["name"]), rest, kind)
    if not merged.align:
        raise ConfigError("align: name at least one alignment; none is the source-only baseline")
    align = _components("alignment", "align", merged.align)
    reg = _components("regularizer", "reg", merged.reg)
    labels = [chosen.label for chosen in (*align, *reg)]
    if repeated := sorted({label for label in labels if labels.count(label) > 1}):
        raise ConfigError(
            f"two loss terms share the name '{repeated[0]}'; their metrics could not be told apart"
        )
    resolved = merged.model_copy(
        update={
            **{kind: {"name": chosen.reference, **_dump(chosen)} for kind, chosen in named.items()},
            "align": {chosen.reference: _dump(chosen) for chosen in align},
            "reg": {chosen.reference: _dump(chosen) for chosen in reg},
        }
    )
    return Experiment(resolved, named["pair"], named["backbone"], align, reg)
