"""What every set of options is built on: those of a component and those of the core."""

from pydantic import BaseModel, ConfigDict


class ComponentConfig(BaseModel):
    """Options of one component. The docstring under a field is its documentation everywhere."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False, validate_default=True
    )
