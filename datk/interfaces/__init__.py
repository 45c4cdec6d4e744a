"""All that the author of a component reads: batches, views, and the kinds of component.

A whole alignment plugin, `energy.py`, usable at once with `--align ./energy.py:Energy`:

    import torch
    from datk.interfaces import AlignmentLoss

    class Energy(AlignmentLoss):
        '''Energy distance between the two feature clouds (Szekely & Rizzo 2013).'''

        over_batch = True  # no mean over rows

        def forward(self, source, target, step):
            between = torch.cdist(source.features, target.features).mean()
            within = torch.cdist(source.features, source.features).mean()
            return 2 * between - within - torch.cdist(target.features, target.features).mean()

Components are not given the label of a target sample: the types below have no field for one.
"""

import pluggy

from datk.base.errors import ConfigError, DataError, DatkError, PluginError
from datk.base.options import ComponentConfig
from datk.interfaces.batches import (
    EpochRows,
    Network,
    Phase,
    SourceBatch,
    SourceView,
    Step,
    TargetBatch,
    TargetView,
    View,
)
from datk.interfaces.models import Backbone, ModelInfo, PairInfo, ParamGroup
from datk.interfaces.pairs import (
    OTHER_CLASS,
    UNLABELLED,
    Array,
    DomainPair,
    Record,
    RecordFile,
    Samples,
)
from datk.interfaces.tasks import Metric, Outputs, Selector, Task
from datk.interfaces.terms import AlignmentLoss, LossTerm, Ramp, Regularizer, TermConfig

__all__ = [
    "OTHER_CLASS",
    "UNLABELLED",
    "AlignmentLoss",
    "Array",
    "Backbone",
    "ComponentConfig",
    "ConfigError",
    "DataError",
    "DatkError",
    "DomainPair",
    "EpochRows",
    "LossTerm",
    "Metric",
    "ModelInfo",
    "Network",
    "Outputs",
    "PairInfo",
    "ParamGroup",
    "Phase",
    "PluginError",
    "Ramp",
    "Record",
    "RecordFile",
    "Regularizer",
    "Samples",
    "Selector",
    "SourceBatch",
    "SourceView",
    "Step",
    "TargetBatch",
    "TargetView",
    "Task",
    "TermConfig",
    "View",
    "hookimpl",
]

hookimpl = pluggy.HookimplMarker("datk")
"""Marks a function that is told of a run; `datk.runs.hooks` lists what there is to be told."""
