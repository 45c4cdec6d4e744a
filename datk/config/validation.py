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
        validated = model.model_validate(dict(options))
    except (OverflowError, RecursionError) as error:
        where = section or "the configuration"
        raise ConfigError(f"{where} holds a number that is too large, or lists too deep: {error}") from None
    except ValidationError as error:
        faults = error.errors()
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        # A misspelt option is often what another one is missing for.
        unknown = [fault for fault in faults if fault["type"] == "extra_forbidden"]
        raise ConfigError(_explained(model, (unknown or faults)[0], section) + more) from None
    _check_values(validated, section)
    return validated


LARGEST = 2**63
"""Whole numbers of torch, numpy and HDF5 lie below."""


def _check_values(value: Any, location: str) -> None:
    """Raise `ConfigError` for a whole number that is too large for a machine, and for text that is no name of
    anything."""
    if isinstance(value, int) and not -LARGEST <= value < LARGEST:
        raise ConfigError(f"{location} must lie between -2^63 and 2^63 (got {_shortened(value)})")
    if isinstance(value, str) and "\0" in value:
        raise ConfigError(f"{location} must not contain a null character (got {_shortened(value)})")
    if isinstance(value, BaseModel):
        value = dict(value)
    if isinstance(value, Mapping):
        parts = [(str(key), part) for key, part in value.items()]
    elif isinstance(value, list | tuple):
        parts = [("", part) for part in value]
    else:
        return
    for name, part in parts:
        _check_values(part, ".".join(filter(None, (location, name))))


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
    if isinstance(value, int) and abs(value) >= LARGEST:
        return f"a number of {len(str(value)) if abs(value) < 10**4000 else 'thousands of'} digits"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
