"""The numbers of a result, and what tables call them."""

from collections.abc import Mapping

from datk.base.errors import PluginError
from datk.config import plugins
from datk.interfaces import Metric

Metrics = dict[str, float | int | None]
"""By name; `n` is the number of rows."""


def metrics_of(task: str) -> Mapping[str, Metric]:
    """The metrics of a task, by its name, in the order of tables; none of one that cannot be loaded."""
    try:
        metrics: Mapping[str, Metric] = plugins.load(plugins.resolve("task", task)).metrics
    except (PluginError, AttributeError):
        return {}
    return metrics
