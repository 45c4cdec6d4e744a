"""What every set of options is built on: those of a component and those of the core."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class ComponentConfig(BaseModel):
    """Options of one component. The docstring under a field is its documentation everywhere."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False, validate_default=True
    )

    former: ClassVar[Mapping[str, Any]] = {}
    """Defaults of earlier versions that are others now, of a component: they hold for runs and suites that
    such a version began."""
