"""What a component and its options are, for people: `datk plugins show`, `datk config show`, the docs."""

import inspect
import json
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from datk.config.models import RunConfig
from datk.config.resolve import Experiment


@dataclass(frozen=True)
class Option:
    """One field of a configuration."""

    name: str
    type: str
    default: str
    meaning: str


def options(model: type[BaseModel]) -> list[Option]:
    """The options of a configuration class, in order."""
    return [
        Option(name, _type(field), _default(field), " ".join((field.description or "").split()))
        for name, field in model.model_fields.items()
    ]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    return "not set" if default is None else toml_value(to_jsonable_python(default))


def _type(field: FieldInfo) -> str:
    return f"{_annotation(field.annotation)} {_bounds(field.metadata)}".strip()


def _bounds(metadata: Iterable[Any]) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    return ", ".join(
        f"{sign} {getattr(constraint, name)}"
        for constraint in metadata
        for name, sign in signs.items()
        if getattr(constraint, name, None) is not None
    )


def _annotation(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        metadata = [m for a in arguments[1:] for m in (a.metadata if isinstance(a, FieldInfo) else [a])]
        return f"{_annotation(arguments[0])} {_bounds(metadata)}".strip()
    if origin is Literal:
        return " | ".join(str(value) for value in arguments)
    if origin in (Union, types.UnionType):
        return " | ".join(_annotation(a) for a in arguments if a is not type(None))
    if origin is list or (origin is tuple and arguments[1:] == (Ellipsis,)):
        return f"list of {_annotation(arguments[0])}"
    if origin is tuple:
        return f"[{', '.join(_annotation(a) for a in arguments)}]"
    return getattr(annotation, "__name__", str(annotation))


def docstring(cls: type) -> str:
    """The class's docstring, each paragraph on one line; indented lines stay as they are."""
    paragraphs = inspect.cleandoc(cls.__doc__ or "").split("\n\n")
    return "\n\n".join(p if "\n " in p or p.startswith(" ") else " ".join(p.split()) for p in paragraphs)


# --- TOML ----------------------------------------------------------------------------------------------


def toml_value(value: Any) -> str:
    """A plain value as TOML; strings and lists of these types are written as in JSON, which TOML shares."""
    if isinstance(value, list):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(k)} = {toml_value(v)}" for k, v in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() and key.isascii() else toml_value(key)


def config_toml(experiment: Experiment) -> str:
    """A resolved configuration as commented TOML that `--config` reads. Options not set are comments."""
    config = experiment.config.model_dump(mode="json")
    meanings = {option.name: option.meaning for option in options(RunConfig)}
    lines: list[str] = []
    components = ("pair", "backbone", "align", "reg")
    sections = ("data", "train")
    for name in (name for name in config if name not in (*components, *sections)):
        lines += _line(name, config[name], meanings[name])
    for name, chosen in (("pair", experiment.pair), ("backbone", experiment.backbone)):
        lines += ["", f"# {meanings[name]}", f"[{name}]", f"name = {toml_value(config[name]['name'])}"]
        lines += _table(type(chosen.config), config[name])
    for section, terms in (("align", experiment.align), ("reg", experiment.reg)):
        if not terms:  # said, so that those of a recipe do not show through
            lines += ["", f"# {meanings[section]}", f"[{section}]"]
        for term in terms:
            lines += ["", f"[{section}.{_key(term.reference)}]"]
            lines += _table(type(term.config), config[section][term.reference])
    for name in sections:
        model = type(getattr(experiment.config, name))
        lines += ["", f"# {meanings[name]}", f"[{name}]", *_table(model, config[name])]
    return "\n".join(lines) + "\n"


def _table(model: type[BaseModel], values: dict[str, Any]) -> Iterator[str]:
    for option in options(model):
        yield from _line(option.name, values[option.name], option.meaning)


def _line(name: str, value: Any, meaning: str) -> list[str]:
    comment = [f"# {meaning}"] if meaning else []
    return [*comment, f"# {name} is not set" if value is None else f"{_key(name)} = {toml_value(value)}"]
