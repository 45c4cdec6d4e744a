"""The numbers of a result, and what tables call them."""

from collections.abc import Iterable, Mapping

from datk.base.errors import PluginError
from datk.base.numbers import number_text
from datk.config import plugins
from datk.interfaces import Metric

Metrics = dict[str, float | int | None]
"""By name; `n` is the number of rows."""

UNKNOWN = "–"
"""What tables show for a number that there is not."""


def metrics_of(task: str) -> Mapping[str, Metric]:
    """The metrics of a task, by its name, in the order of tables; none of one that cannot be loaded."""
    try:
        metrics: Mapping[str, Metric] = plugins.load(plugins.resolve("task", task)).metrics
    except (PluginError, AttributeError):
        return {}
    return metrics


def metric_named(metrics: Mapping[str, Metric], name: str) -> Metric | None:
    """One of a task's metrics, or of one of several numbers, `mae NAME`, that of its kind; None if there is
    none."""
    if name in metrics:
        return metrics[name]
    kind, _, target = name.partition(" ")
    predicts_numbers = any(metric.in_label_units for metric in metrics.values())
    if kind in metrics and target and predicts_numbers:
        return metrics[kind]._replace(title=f"{metrics[kind].title} {target}")
    return None


def several_numbers(found: Iterable[str]) -> list[str]:
    """Names of the numbers that a result has the metrics of each of, `mae NAME`."""
    names = dict.fromkeys(found)
    return list(
        dict.fromkeys(
            name.partition(" ")[2] for name in names if name.partition(" ")[0] in names and " " in name
        )
    )


def metric_text(metric: Metric | None, value: float | None, spread: float | None = None) -> str:
    """A value as tables show it, with its spread; three decimals, or significant digits where it has the unit
    of the labels, or where nothing is known of it."""
    if value is None:
        return UNKNOWN
    return number_text(value, spread, any_size=metric is None or metric.in_label_units)


def ordered(metrics: Mapping[str, Metric], found: Mapping[str, object]) -> list[str]:
    """The metrics of a result in the order of tables: what the task lists, then the rest as it stands there,
    and the number of rows at the end."""
    listed = [name for name in metrics if name in found]
    return [*listed, *(name for name in found if name not in listed and name != "n"), "n"]


def domain_order(domains: Mapping[str, object]) -> list[str]:
    """The domains of a result in the order of tables: source, each of several sources, target."""
    return [name for name in domains if name != "target"] + [name for name in domains if name == "target"]
