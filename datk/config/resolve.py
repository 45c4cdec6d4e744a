"""From the layers of a configuration to an `Experiment`: the resolved configuration and the classes it names.

Every name is resolved before the first class is loaded, so that a wrong one is told at once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, create_model

from datk.base.errors import ConfigError, PluginError
from datk.config import merge, plugins
from datk.config.models import FORMER, Options, PairOptions, RunConfig
from datk.config.plugins import Plugin
from datk.config.validation import validate

BASES: dict[plugins.Kind, str] = {
    "pair": "DomainPair",
    "backbone": "Backbone",
    "alignment": "AlignmentLoss",
    "regularizer": "Regularizer",
    "task": "Task",
    "selector": "Selector",
}
"""Class of `datk.interfaces` that a component of each kind is a subclass of."""


@dataclass(frozen=True)
class Component:
    """A chosen plugin: its class and its validated options."""

    plugin: Plugin
    cls: type[Any]
    config: Any

    @property
    def label(self) -> str:
        """Its short name in messages and metrics."""
        return self.plugin.label

    @property
    def reference(self) -> str:
        """What a configuration calls it: `dist:name`, or an absolute path for a file."""
        return self.plugin.reference

    @property
    def options(self) -> Options:
        """Its options as JSON values."""
        options: Options = self.config.model_dump(mode="json")
        return options


@dataclass(frozen=True)
class Experiment:
    """A resolved configuration with the classes that it names."""

    config: RunConfig
    pair: Component
    backbone: Component
    align: tuple[Component, ...]
    reg: tuple[Component, ...]
    task: Component
    select: Component

    @property
    def positive(self) -> str | None:
        """Name of the positive class, if `pair.positive` says so. A pair may have an option of that name for
        another end, which is then its own affair."""
        own = "positive" in self.pair.cls.Config.model_fields
        return None if own else getattr(self.pair.config, "positive", None)

    @property
    def terms(self) -> tuple[Component, ...]:
        """The terms of the loss."""
        return (*self.align, *self.reg)


def resolve(
    *,
    recipe: str | None = None,
    config: str | Path | Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    selectors: Mapping[str, Any] | None = None,
    overrides: Iterable[str] | Mapping[str, Any] = (),
    to_run: bool = True,
    former: bool = False,
) -> Experiment:
    """Merge the layers and resolve the components they name.

    Args:
        recipe: name of an installed recipe, or the path of a .toml file.
        config: path of a TOML or JSON file, a dictionary of the same form, or several dictionaries, each over
            those before it.
        selectors: top-level keys given by flags; `epochs` stands for `train.epochs`, `time_budget` for
            `train.time_budget`. None means not given.
        overrides: texts `key=value`, or values by dotted key.
        to_run: whether the run that training starts from must be named, where it needs one; a configuration
            that is only looked at may leave that open.
        former: with the defaults of earlier versions where nothing is said.

    Raises:
        ConfigError: an unknown key, a value out of range, or components that do not go together.
        PluginError: a component that cannot be found or loaded.
    """
    merged: RunConfig = validate(RunConfig, _merged(recipe, config, selectors or {}, overrides, former))
    if not merged.align:
        raise ConfigError("align: name at least one alignment; none is the source-only baseline")
    named: dict[str, tuple[plugins.Kind, Options]] = {
        "pair": ("pair", merged.pair),
        "backbone": ("backbone", merged.backbone),
        "task": ("task", merged.task),
        "train.select": ("selector", merged.train.select),
    }
    hooks = tuple(_hook_file(hook) for hook in merged.hooks)
    found = {section: plugins.resolve(kind, options["name"]) for section, (kind, options) in named.items()}
    align = [(plugins.resolve("alignment", name), options) for name, options in merged.align.items()]
    reg = [(plugins.resolve("regularizer", name), options) for name, options in merged.reg.items()]
    _refuse_namesakes([plugin.label for plugin, _ in (*align, *reg)])

    def loaded(section: str, kind_of_task: str = "") -> Component:
        options = {key: value for key, value in named[section][1].items() if key != "name"}
        return _loaded(found[section], options, section, former, kind_of_task)

    task = loaded("task")
    experiment = Experiment(
        merged,
        pair=loaded("pair", "classification" if task.cls.predicts_classes else "regression"),
        backbone=loaded("backbone"),
        align=tuple(_loaded(plugin, options, f"align.{plugin.label}", former) for plugin, options in align),
        reg=tuple(_loaded(plugin, options, f"reg.{plugin.label}", former) for plugin, options in reg),
        task=task,
        select=loaded("train.select"),
    )
    _check_together(experiment)
    if to_run:
        _check_start(experiment)
    return _completed(experiment, hooks)


def defaults(experiment: Experiment) -> Options:
    """What its components and the core do where nothing is said, in the form of a whole configuration."""

    def table(chosen: Component) -> Options:
        return options_of(chosen.cls).model_construct().model_dump(mode="json", warnings=False)

    return {
        **RunConfig().model_dump(mode="json"),
        "backbone": table(experiment.backbone),
        "align": {chosen.reference: table(chosen) for chosen in experiment.align},
        "reg": {chosen.reference: table(chosen) for chosen in experiment.reg},
    }


def changed(experiment: Experiment) -> Options:
    """What differs from the defaults: the same for a run of an earlier version with fewer options."""

    def table(chosen: Component) -> Options:
        return {
            "name": chosen.reference,
            **chosen.config.model_dump(mode="json", exclude_defaults=True, exclude={"task"}),
        }

    config, default = experiment.config, RunConfig()
    train = config.train.model_dump(mode="json", exclude_defaults=True, exclude={"select"})
    if (select := table(experiment.select)) != default.train.select:
        train["select"] = select
    options: Options = {
        **config.model_dump(
            mode="json",
            exclude_defaults=True,
            exclude={"pair", "backbone", "align", "reg", "task", "train", "hooks"},
        ),
        "pair": table(experiment.pair),
        "backbone": table(experiment.backbone),
        "align": [table(chosen) for chosen in experiment.align],
        "reg": [table(chosen) for chosen in experiment.reg],
        "train": train,
    }
    if (task := table(experiment.task)) != default.task:
        options["task"] = task
    return options


def _merged(
    recipe: str | None,
    config: str | Path | Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
    selectors: Mapping[str, Any],
    overrides: Iterable[str] | Mapping[str, Any],
    former: bool,
) -> Options:
    """All layers as one."""
    flags = {key: value for key, value in selectors.items() if value is not None}
    if "epochs" in flags:
        flags["train"] = {"epochs": flags.pop("epochs"), "steps": None}  # which it replaces
    if "time_budget" in flags:
        flags["train"] = {**flags.get("train", {}), "time_budget": flags.pop("time_budget")}
    if isinstance(config, str | Path):
        config = merge.read_file(config)
    configs = [config] if isinstance(config, Mapping) else list(config or ())
    options: Options = RunConfig().model_dump(mode="json")
    recipes = [merge.read_recipe(recipe)] if recipe is not None else []
    for layer in [*([FORMER] if former else []), *recipes, *configs, flags]:
        options = merge.merge(options, layer)
    pairs = overrides.items() if isinstance(overrides, Mapping) else map(merge.parse_override, overrides)
    for key, value in pairs:
        merge.override(options, merge.parse_key(key) if isinstance(key, str) else key, value)
    return options


def _hook_file(hook: str) -> str:
    """The absolute path of a file of notifications. Raises `PluginError` for what is none."""
    if not plugins.is_file(hook):
        raise PluginError(
            f"hooks: '{hook}' is no file; write path/to/file.py (installed ones are told in any case)"
        )
    return plugins.resolve("hook", hook).reference


def _refuse_namesakes(labels: Sequence[str]) -> None:
    if repeated := sorted({label for label in labels if labels.count(label) > 1}):
        raise ConfigError(
            f"two loss terms share the name '{repeated[0]}'; their metrics could not be told apart"
        )


def built_backbone(backbone: Component, pair: Any) -> Component:
    """The backbone that is built for samples as a `PairInfo` describes them: it, or what it stands for."""
    name = backbone.cls.stands_for(pair)
    return _loaded(plugins.resolve("backbone", name), {}, "backbone", False) if name else backbone


def component_class(plugin: Plugin) -> type[Any]:
    """Load a component's class. Raises `PluginError` if there is none or if it is of another kind."""
    cls = plugins.load(plugin)
    from datk import interfaces  # with torch, which is not imported before a name is known to be right

    base = BASES[plugin.kind]
    if not (isinstance(cls, type) and issubclass(cls, getattr(interfaces, base))):
        raise PluginError(f"{plugin} cannot be used as {plugin.kind}: it is no subclass of {base}")
    return cls


def options_of(cls: type[Any]) -> type[BaseModel]:
    """What a component's options are read as: its `Config`, and for a pair with what every pair has."""
    from datk.interfaces import DomainPair  # with torch, see above

    own: type[BaseModel] = cls.Config
    return _of_pairs(own) if issubclass(cls, DomainPair) else own


@cache
def _of_pairs(own: type[BaseModel]) -> type[BaseModel]:
    added: dict[str, Any] = {
        name: (field.annotation, field)
        for name, field in PairOptions.model_fields.items()
        if name not in own.model_fields
    }
    return create_model(own.__name__, __base__=own, __doc__=own.__doc__, **added) if added else own


def _loaded(
    plugin: Plugin, options: Options, section: str, former: bool, kind_of_task: str = ""
) -> Component:
    cls = component_class(plugin)
    if former:
        options = {**cls.Config.former, **options}
    if plugin.kind == "pair" and "task" in cls.Config.model_fields:
        # A pair that reads labels of either kind is told which are wanted, by whatever task.
        options = options | {"task": kind_of_task}
    return Component(plugin, cls, validate(options_of(cls), options, section))


def _check_together(experiment: Experiment) -> None:
    """Raise `ConfigError` for components that cannot work in this run."""
    for chosen in experiment.align if len(experiment.align) > 1 else ():
        if chosen.cls.alone:
            others = ", ".join(other.label for other in experiment.align if other is not chosen)
            raise ConfigError(f"alignment '{chosen.label}' stands alone in a run; leave out {others}")
    if not experiment.task.cls.predicts_classes:
        for chosen in (*experiment.terms, experiment.select):
            if chosen.cls.needs_classes:
                raise ConfigError(
                    f"{chosen.plugin.kind} '{chosen.label}' needs classes, and task "
                    f"'{experiment.task.label}' predicts none; leave it out"
                )


def _check_start(experiment: Experiment) -> None:
    """Raise `ConfigError` for what starts from another run, if none is named."""
    config = experiment.config
    if config.init is not None:
        return
    for term in experiment.terms:
        if term.cls.needs_init:
            raise ConfigError(f"{term.label} starts from the weights of another run: name it by --init")
    if config.init_normalization == "inherited":
        raise ConfigError(
            "init_normalization=inherited takes the constants of another run: name it by --init"
        )


def _completed(experiment: Experiment, hooks: tuple[str, ...]) -> Experiment:
    """With a configuration that names every component and file in full and gives all options."""

    def table(chosen: Component) -> Options:
        return {"name": chosen.reference, **chosen.options}

    config = experiment.config
    train = config.train.model_copy(update={"select": table(experiment.select)})
    completed = config.model_copy(
        update={
            "pair": table(experiment.pair),
            "backbone": table(experiment.backbone),
            "task": table(experiment.task),
            "align": {chosen.reference: chosen.options for chosen in experiment.align},
            "reg": {chosen.reference: chosen.options for chosen in experiment.reg},
            "train": train,
            "hooks": hooks,
        }
    )
    return replace(experiment, config=completed)
