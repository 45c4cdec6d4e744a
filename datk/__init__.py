"""datk: plugin-based unsupervised domain adaptation.

    import datk
    result = datk.run(backbone="deepmerge", align="mmd", reg=["fisher", "entropy"])
    print(result.metrics["target"]["test"]["accuracy"], result.folder)

Public names are loaded on first use, so that `import datk` does not import torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datk.base.errors import DatkError as DatkError
    from datk.cli.python import run as run
    from datk.runs.result import RunResult as RunResult
    from datk.runs.result import read_result as read_result
    from datk.runs.seeds import Summary as Summary

from datk.base.version import __version__

_HOMES = {
    "DatkError": "datk.base.errors",
    "RunResult": "datk.runs.result",
    "read_result": "datk.runs.result",
    "Summary": "datk.runs.seeds",
    "run": "datk.cli.python",
}

__all__ = ["DatkError", "RunResult", "Summary", "__version__", "read_result", "run"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'datk' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
