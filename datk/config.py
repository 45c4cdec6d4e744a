"""Configuration: the models, the layers that are merged, and the error texts.

Layers, each over the one before: defaults < recipe < `--config` file < selectors (`--pair --backbone --align
--reg`) and the few other flags < `--set key=value`. The result is one `Experiment`: the resolved
configuration and the classes it names.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from datk import plugins
from datk.errors import ConfigError, did_you_mean
from datk.interfaces import AlignmentLoss, Backbone, ComponentConfig, DomainPair, Regularizer
from datk.plugins import Plugin

Options = dict[str, Any]

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

    augment: Literal["none", "dihedral"] = "none"
    """Random flips and quarter turns of the training images of both domains."""

    select: Literal["source-validation-loss", "source-validation-accuracy", "last"] = "source-validation-loss"
    """Which epoch's weights are kept. No rule looks at target labels."""

    patience: int = Field(20, ge=0)
    """Stop after this many epochs without a better one by `select`; 0 never stops early."""

    log_every: int = Field(10, ge=1)
    """Steps between log lines; only then do values leave the device."""

    deterministic: bool = True
    """Use deterministic kernels, so that a seed gives the same weights again on the same machine."""

    @model_validator(mode="after")
    def _betas_are_rates(self) -> "TrainConfig":
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError("betas must lie in [0, 1)")
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


# --- reading the layers --------------------------------------------------------------------------------


def read_file(path: str | Path, what: str = "configuration") -> Options:
    """A TOML or JSON file as a dictionary. Raises `ConfigError` if it is missing or malformed."""
    path = Path(path).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
        parsed = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigError(f"no {what} file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what} file {path} cannot be read: {error}") from None
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ConfigError(f"{what} file {path} is malformed: {error}") from None
    if not isinstance(parsed, dict):
        raise ConfigError(f"{what} file {path} must hold a table of options, not a {type(parsed).__name__}")
    return parsed


def read_recipe(reference: str) -> Options:
    """The options of an installed recipe, or of a recipe file given by a path that ends in .toml."""
    if reference.endswith(".toml"):
        return read_file(reference, "recipe")
    return read_file(plugins.resolve("recipe", reference).target, "recipe")


def parse_key(key: str) -> list[str]:
    """The parts of a dotted key; parts may be quoted as in TOML. Raises `ConfigError` if it is none."""
    try:
        node: Any = tomllib.loads(f"{key} = 0")
    except (tomllib.TOMLDecodeError, RecursionError):
        raise ConfigError(f"set {key}: not a key; write for instance train.epochs") from None
    path: list[str] = []
    while isinstance(node, dict) and len(node) == 1:
        part, node = next(iter(node.items()))
        path.append(part)
    if node != 0:
        raise ConfigError(f"set {key}: one key at a time")
    return path


def parse_override(text: str) -> tuple[list[str], Any]:
    """Split `a.b.c=value` into its path and value.

    Lists, tables and quoted strings are read as TOML; everything else stays a string that the field's type
    reads. Raises `ConfigError` if the text has another form.
    """
    match = re.fullmatch(r'((?:"[^"]*"|[^="])+)=(.*)', text, flags=re.DOTALL)
    key, value = (part.strip() for part in match.groups()) if match else ("", "")
    if not (key and value):
        raise ConfigError(f"set {text}: write key=value, for instance train.epochs=5")
    if value[0] not in "[{\"'":
        return parse_key(key), value
    try:
        return parse_key(key), tomllib.loads(f"value = {value}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        raise ConfigError(f"set {text}: the value is malformed; write lists as [1, 2]") from None


def _selection(value: Any, section: str) -> dict[str, Options]:
    """Normalise what a layer says of alignments or regularizers: text, list or table -> table."""
    if isinstance(value, str):
        value = [name.strip() for name in value.split(",") if name.strip()]
    if isinstance(value, Mapping):
        return {str(name): _options(options, f"{section}.{name}") for name, options in value.items()}
    if isinstance(value, Iterable) and all(isinstance(name, str) for name in value):
        names = list(value)
        if len(set(names)) < len(names):
            raise ConfigError(f"{section}: {', '.join(names)} names one twice")
        return {name: {} for name in names}
    raise ConfigError(f"{section} must be names or a table of options, not {value!r}")


def _options(value: Any, section: str) -> Options:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{section} must be a table of options, not {value!r}")
    return {str(key): option for key, option in value.items()}


def _named(value: Any, section: str) -> Options:
    """Normalise what a layer says of the pair or the backbone: a name or a table with `name`."""
    return {"name": value} if isinstance(value, str) else _options(value, section)


def _merge(below: Options, above: Mapping[str, Any]) -> Options:
    """Lay one layer over another.

    A layer that names another pair or backbone drops the options of the one below; a layer that names
    alignments (regularizers) replaces the selection, and keeps what was said of those it names again.
    """
    merged = dict(below)
    for key, value in above.items():
        if key in ("pair", "backbone"):
            options = _named(value, key)
            same = options.get("name", below[key]["name"]) == below[key]["name"]
            merged[key] = {**(below[key] if same else {}), **options}
        elif key in ("align", "reg"):
            selection = _selection(value, key)
            if key == "reg" and set(selection) == {"none"}:
                selection = {}
            merged[key] = {name: {**below[key].get(name, {}), **selection[name]} for name in selection}
        elif key in ("data", "train"):
            merged[key] = {**below[key], **_options(value, key)}
        else:
            merged[key] = value
    return merged


def _override(options: Options, path: list[str], value: Any) -> None:
    """Set one option of the merged layers, in place."""
    section, *rest = path
    key = ".".join(path)
    if section not in RunConfig.model_fields:
        raise ConfigError(
            f"set {key}: unknown key '{section}'{did_you_mean(section, RunConfig.model_fields)}"
        )
    nested = {"pair": 2, "backbone": 2, "data": 2, "train": 2, "align": 3, "reg": 3}.get(section, 1)
    if len(path) != nested:
        form = {1: section, 2: f"{section}.option", 3: f"{section}.name.option"}[nested]
        raise ConfigError(f"set {key}: the key has the form {form}=value")
    if nested == 1:
        options[section] = value
    elif nested == 2:
        options[section][rest[0]] = value
    else:
        name, option = rest
        chosen = options[section]
        full = next((known for known in chosen if name in (known, known.rpartition(":")[2])), None)
        if full is None:
            selected = ", ".join(chosen) or "none"
            raise ConfigError(f"set {key}: '{name}' is not selected; --{section} selects {selected}")
        chosen[full][option] = value


# --- resolving -----------------------------------------------------------------------------------------


def validate(model: type[BaseModel], options: Mapping[str, Any], section: str = "") -> Any:
    """Validate options against a model; `ConfigError` with one line for the first fault."""
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        faults = error.errors()
        fault = faults[0]
        location = ".".join([section, *map(str, fault["loc"])] if section else map(str, fault["loc"]))
        if fault["type"] == "extra_forbidden":
            *parents, unknown = fault["loc"]
            fields = _fields_at(model, parents)
            message = f"unknown option '{location}'{did_you_mean(str(unknown), fields)}"
        elif fault["type"] == "missing":
            message = f"option '{location}' must be given"
        elif fault["type"] == "value_error":
            message = f"{location}: {fault['ctx']['error']}"
        else:
            reason = fault["msg"][:1].lower() + fault["msg"][1:]
            message = f"{location}: {reason} (got {_shortened(fault['input'])})"
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise ConfigError(message + more) from None


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


def component(kind: plugins.Kind, reference: str, options: Mapping[str, Any], section: str) -> Component:
    """Load a component and validate its options. Raises `PluginError` and `ConfigError`."""
    plugin = plugins.resolve(kind, reference)
    cls = plugins.load(plugin)
    is_component = isinstance(cls, type) and issubclass(cls, BASES[kind])
    if not is_component:
        raise ConfigError(f"{kind} '{reference}' is not a subclass of {BASES[kind].__name__}")
    return Component(
        plugin, reference if plugin.dist else plugin.name, cls, validate(cls.Config, options, section)
    )


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
    config: str | Path | Mapping[str, Any] | None = None,
    selectors: Mapping[str, Any] | None = None,
    overrides: Iterable[str] | Mapping[str, Any] = (),
) -> Experiment:
    """Merge the layers and resolve the components they name.

    Args:
        recipe: name of an installed recipe, or the path of a .toml file.
        config: path of a TOML or JSON file, or a dictionary of the same form.
        selectors: top-level keys given by flags; `epochs` stands for `train.epochs`. None means not given.
        overrides: texts `key=value`, or values by dotted key.

    Raises:
        ConfigError: an unknown key or a value out of range.
        PluginError: a component that cannot be found or loaded.
    """
    flags = {key: value for key, value in (selectors or {}).items() if value is not None}
    if "epochs" in flags:
        flags["train"] = {"epochs": flags.pop("epochs")}
    layers = [
        read_recipe(recipe) if recipe is not None else {},
        config if isinstance(config, Mapping) else read_file(config) if config is not None else {},
        flags,
    ]
    options: Options = RunConfig().model_dump(mode="json")
    for layer in layers:
        options = _merge(options, layer)
    pairs = overrides.items() if isinstance(overrides, Mapping) else map(parse_override, overrides)
    for key, value in pairs:
        _override(options, parse_key(key) if isinstance(key, str) else key, value)

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
