"""Suites: TOML files that name experiments, the tables they stand in, and published numbers beside them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from datk.base.errors import ConfigError, did_you_mean
from datk.config import merge, plugins
from datk.config.models import RunConfig
from datk.config.resolve import Experiment, component_class, resolve
from datk.config.validation import validate
from datk.runs.metrics import metric_named, metrics_of

NAME = r"^[A-Za-z0-9][\w.+-]*$"
"""Names of tables and cells are names of folders, too."""

DEFAULT_TASK = str(RunConfig().task["name"])

Shallow = Literal["lr", "lr-z", "subspace", "coral-lr"]

COLUMNS = ("accuracy", "auc", "f1", "brier")
"""Columns of the tables of a suite that names none, if its task has these metrics; all of the task's
otherwise."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Reference(_Model):
    """Numbers that somebody else reports for a cell."""

    source: dict[str, float] = {}
    """By metric, on the source's test rows."""
    target: dict[str, float] = {}
    impossible: tuple[str, ...] = ()
    """`domain.metric` of numbers that contradict others of their row; the table marks them."""


class Cell(_Model):
    """One experiment, run with every seed."""

    name: str = Field(pattern=NAME)
    title: str = ""
    """What the table calls it; its name if empty."""
    table: str | None = None
    """The table it stands in; every table if not given."""
    recipe: str | None = None
    """Recipe to start from."""
    config: dict[str, Any] = {}
    """Options over those of recipe, suite and table, as in a file for `--config`."""
    init: str | None = None
    """`table/cell` before this one whose run of the same seed is where this one starts (`--init`)."""
    reference: dict[str, Reference] = {}
    """Published numbers, by the name of who reports them."""


class Table(_Model):
    """A table of the report."""

    name: str = Field(pattern=NAME)
    title: str
    text: str = ""
    """What its reader must know."""
    config: dict[str, Any] = {}
    """Options of all its cells."""


class Suite(_Model):
    """A suite file."""

    title: str
    text: str = ""
    """What every reader must know, for instance where the references come from."""
    seeds: tuple[int, ...] = Field((0, 1, 2, 3, 4), min_length=1)
    metrics: tuple[str, ...] = ()
    """Columns of the tables, metrics of the task; of several numbers those of one have the name `mae NAME`.
    The usual ones of the task if not given."""
    shallow: tuple[Shallow, ...] = ()
    """Classifiers without a network that every table shows beside its cells, fitted to the same rows, see
    `datk.bench.shallow`: a network that loses to them has not earned its place."""
    config: dict[str, Any] = {}
    """Options of all cells, among them the task."""
    table: tuple[Table, ...] = Field(min_length=1)
    cell: tuple[Cell, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _columns_of_the_task(self) -> "Suite":
        if not self.metrics:
            known = metrics_of(self.task)
            columns = COLUMNS if set(COLUMNS) <= set(known) else tuple(known)
            object.__setattr__(self, "metrics", columns)  # the model is frozen
        return self

    @property
    def task(self) -> str:
        """What all cells predict."""
        task = self.config.get("task", DEFAULT_TASK)
        return str(task.get("name", DEFAULT_TASK) if isinstance(task, dict) else task)

    def first_seeds(self, count: int) -> tuple[int, ...]:
        """The first seeds of the suite, continued by the numbers after its largest if it has fewer."""
        after = max(self.seeds) + 1
        return (*self.seeds, *range(after, after + count))[:count]


@dataclass(frozen=True)
class Entry:
    """A cell in one table of its suite."""

    suite: Suite
    table: Table
    cell: Cell

    @property
    def key(self) -> str:
        """`table/cell`: what `init` names, and the folder of its runs."""
        return f"{self.table.name}/{self.cell.name}"

    @property
    def title(self) -> str:
        """What the table calls it."""
        return self.cell.title or self.cell.name

    @property
    def is_shallow(self) -> bool:
        """Whether it is one of the suite's baselines without a network."""
        return self.cell.name in self.suite.shallow

    def takes(self, override: str) -> bool:
        """Whether an override `key=value` is for this cell: one of a method's option is if it has the method.
        Raises as `datk.config.resolve.resolve`."""
        section, *rest = merge.parse_override(override)[0]
        if section not in ("align", "reg") or len(rest) != 2:
            return True
        terms = getattr(self.experiment(self.suite.seeds[0]), section)
        return any(rest[0] in (term.label, term.reference) for term in terms)

    def experiment(
        self, seed: int, epochs: int | None = None, overrides: Sequence[str] = (), former: bool = False
    ) -> Experiment:
        """The resolved experiment with a seed; `init` names the other cell. Raises as
        `datk.config.resolve.resolve`.

        Args:
            epochs: in place of the cell's own.
            overrides: `key=value`, over everything.
            former: with the defaults of earlier versions where nothing is said.
        """
        config = [self.suite.config, self.table.config, self.cell.config]
        selectors = {"seed": seed, "epochs": epochs, "init": self.cell.init}
        try:
            experiment = resolve(
                recipe=self.cell.recipe,
                config=config,
                selectors=selectors,
                overrides=overrides,
                former=former,
            )
            if experiment.config.seed != seed or any("seed" in layer for layer in config):
                raise ConfigError("seed is not an option here; the suite's seeds say what is run")
            if experiment.task.plugin != plugins.resolve("task", self.suite.task):
                raise ConfigError(
                    f"its task is {experiment.task.label}, that of the suite {self.suite.task}; "
                    "a suite has one task, which its [config] names"
                )
        except ConfigError as error:
            raise ConfigError(f"{self.key}: {error}") from None
        return experiment


def read_suite(reference: str) -> tuple[Suite, list[Entry]]:
    """The suite of a name, or of a path that ends in .toml, and its entries, table by table.

    Raises:
        ConfigError: the file is missing or malformed, or what it says contradicts itself.
        PluginError: no installed suite has that name.
    """
    path = reference if reference.endswith(".toml") else plugins.resolve("suite", reference).target
    content = merge.read_file(path, "suite")
    try:
        suite: Suite = validate(Suite, content)
        _check(suite)
        entries = [
            Entry(suite, table, cell)
            for table in suite.table
            for cell in suite.cell
            if cell.table in (None, table.name)
        ]
        _check_entries(entries)
    except ConfigError as error:
        raise ConfigError(f"suite {path}: {error}") from None
    return suite, entries


def _check(suite: Suite) -> None:
    """Raises `ConfigError` for what contradicts itself, `PluginError` for a task that cannot be loaded."""
    task = component_class(plugins.resolve("task", suite.task))
    if suite.shallow and not task.predicts_classes:
        raise ConfigError(
            f"shallow baselines tell classes, and task={suite.task} predicts none; leave them out"
        )
    if repeated := _repeated(suite.shallow):
        raise ConfigError(f"shallow names '{repeated}' twice")
    if len(set(suite.seeds)) < len(suite.seeds) or min(suite.seeds) < 0:
        raise ConfigError(f"seeds must be distinct and not negative, not {list(suite.seeds)}")
    tables = [table.name for table in suite.table]
    if repeated := _repeated(tables):
        raise ConfigError(f"two tables are called '{repeated}'")
    for cell in suite.cell:
        if cell.name in suite.shallow:
            raise ConfigError(f"a cell and a shallow baseline are called '{cell.name}'; rename the cell")
        if cell.table not in (None, *tables):
            unknown = str(cell.table)
            raise ConfigError(
                f"cell '{cell.name}' stands in no table: {unknown}{did_you_mean(unknown, tables)}"
            )
    named = [
        name
        for cell in suite.cell
        for reported in cell.reference.values()
        for name in (*reported.source, *reported.target, *(_metric(place) for place in reported.impossible))
    ]
    known = metrics_of(suite.task)
    for name in (*suite.metrics, *named):
        if metric_named(known, name) is None:
            raise ConfigError(f"unknown metric '{name}'{did_you_mean(name, known)}")


def _metric(place: str) -> str:
    domain, _, metric = place.partition(".")
    if domain not in ("source", "target"):
        raise ConfigError(f"'{place}' in impossible must be source.metric or target.metric")
    return metric


def _check_entries(entries: Sequence[Entry]) -> None:
    if repeated := _repeated([entry.key for entry in entries]):
        raise ConfigError(f"two cells are called '{repeated}'")
    before: list[str] = []
    for entry in entries:
        init = entry.cell.init
        if init is not None and init not in before:
            raise ConfigError(
                f"{entry.key} starts from '{init}', which is no cell before it{did_you_mean(init, before)}"
            )
        before.append(entry.key)


def _repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
