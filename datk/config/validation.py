"""Options against their model, and one line for the first fault."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from datk.base.errors import ConfigError, did_you_mean


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
