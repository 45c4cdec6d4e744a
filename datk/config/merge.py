"""The layers of a configuration: how each is read, and how one is laid over another.

defaults < recipe < `--config` file < selectors (`--pair --backbone --align --reg`) and the few other flags
< `--set key=value`.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datk.base.errors import ConfigError, did_you_mean
from datk.config import plugins

Options = dict[str, Any]

KINDS: dict[str, plugins.Kind] = {
    "pair": "pair",
    "backbone": "backbone",
    "task": "task",
    "align": "alignment",
    "reg": "regularizer",
}
"""Sections that name components, and of which kind."""


def read_file(path: str | Path, what: str = "configuration") -> Options:
    """A TOML or JSON file as a dictionary. Raises `ConfigError` if it is missing or malformed."""
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"there is no {what} file {path}") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{what} file {path} cannot be read: {error}") from None
    try:
        parsed = json.loads(text) if Path(path).suffix == ".json" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{what} file {path} is malformed: {error}") from None
    if not isinstance(parsed, dict):
        raise ConfigError(f"{what} file {path} must hold a table of options, not a {type(parsed).__name__}")
    return parsed


def read_recipe(reference: str) -> Options:
    """The options of an installed recipe, or of a recipe file given by a path that ends in .toml."""
    if reference.endswith(".toml"):
        return read_file(reference, "recipe")
    return read_file(plugins.resolve("recipe", reference).target, "recipe")


_KEY_PART = r"""(?:"[^"]*"|'[^']*'|[^\s.="']+)"""


def parse_key(key: str) -> list[str]:
    """The parts of a dotted key; a part with dots in it is quoted. Raises `ConfigError` if it is none."""
    if not re.fullmatch(rf"{_KEY_PART}(\.{_KEY_PART})*", key):
        raise ConfigError(f"--set {key}: not a key; write for instance train.epochs")
    return [part.strip("\"'") for part in re.findall(_KEY_PART, key)]


def parse_override(text: str) -> tuple[list[str], Any]:
    """Split `a.b.c=value` into its path and value.

    Lists, tables and quoted strings are read as TOML; everything else stays a string that the field's type
    reads. Raises `ConfigError` if the text has another form.
    """
    match = re.fullmatch(r'((?:"[^"]*"|[^="])+)=(.*)', text, flags=re.DOTALL)
    key, value = (part.strip() for part in match.groups()) if match else ("", "")
    if not (key and value):
        raise ConfigError(f"--set {text}: write key=value, for instance train.epochs=5")
    if value[0] not in "[{\"'":
        return parse_key(key), value
    try:
        return parse_key(key), tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        raise ConfigError(f"--set {text}: the value is malformed; write lists as [1, 2]") from None


def _selection(value: Any, section: str) -> dict[str, Options]:
    """Normalise what a layer says of alignments or regularizers: text, list or table -> table by full
    name."""
    if isinstance(value, str):
        value = [name.strip() for name in value.split(",") if name.strip()]
    if isinstance(value, Mapping):
        chosen = [(str(name), _options(options, f"{section}.{name}")) for name, options in value.items()]
    elif isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        chosen = [(name, {}) for name in value]
    else:
        raise ConfigError(f"{section} must be names or a table of options, not {value!r}")
    selection: dict[str, Options] = {}
    for name, options in chosen:
        full = plugins.full_name(KINDS[section], name)
        if full in selection:
            raise ConfigError(f"{section}: '{name}' is named twice")
        selection[full] = options
    return selection


def _options(value: Any, section: str) -> Options:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{section} must be a table of options, not {value!r}")
    return {str(key): option for key, option in value.items()}


def _named(value: Any, section: str) -> Options:
    """Normalise what a layer says of a pair, backbone or task: a name or a table with `name`."""
    options = {"name": value} if isinstance(value, str) else _options(value, section)
    if "name" in options:
        options["name"] = plugins.full_name(KINDS[section], str(options["name"]))
    return options


def merge(below: Options, above: Mapping[str, Any]) -> Options:
    """Lay one layer over another.

    A layer that names another pair, backbone or task drops the options of the one below; a layer that names
    alignments (regularizers) replaces the selection, and keeps what was said of those it names again.
    """
    merged = dict(below)
    for key, value in above.items():
        if key in ("pair", "backbone", "task"):
            lower, options = _named(below[key], key), _named(value, key)
            same = options.get("name", lower["name"]) == lower["name"]
            merged[key] = {**(lower if same else {}), **options}
        elif key in ("align", "reg"):
            selection = _selection(value, key)
            if key == "reg" and set(selection) == {"none"}:
                selection = {}
            merged[key] = {name: {**below[key].get(name, {}), **selection[name]} for name in selection}
        elif key in ("data", "train"):
            merged[key] = {**below[key], **_options(value, key)}
        else:
            merged[key] = value
    return merged


def override(options: Options, path: list[str], value: Any) -> None:
    """Set one option of the merged layers, in place. Raises `ConfigError` for a key that there is not."""
    section, *rest = path
    key = ".".join(path)
    if section not in options:
        raise ConfigError(f"--set {key}: unknown key '{section}'{did_you_mean(section, options)}")
    nested = {"pair": 2, "backbone": 2, "data": 2, "train": 2, "align": 3, "reg": 3}.get(section, 1)
    if len(path) != nested:
        form = {1: section, 2: f"{section}.option", 3: f"{section}.name.option"}[nested]
        raise ConfigError(f"--set {key}: the key has the form {form}=value")
    if nested == 1:
        options[section] = value
    elif nested == 2:
        options[section][rest[0]] = value
    else:
        name, option = rest
        chosen = options[section]
        full = next((known for known in chosen if name in (known, known.rpartition(":")[2])), None)
        if full is None:
            selected = ", ".join(known.rpartition(":")[2] for known in chosen) or "none"
            raise ConfigError(f"--set {key}: '{name}' is not selected; --{section} selects {selected}")
        chosen[full][option] = value
