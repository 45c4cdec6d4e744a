"""Find components by entry point, and load the ones that are used.

Finding reads package metadata only; a component's module is imported when the component is. Standard library
only, so that `datk plugins` starts at once.
"""

import ast
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

from datk.errors import PluginError, did_you_mean

Kind = Literal["backbone", "alignment", "regularizer", "pair", "recipe", "command", "hook"]

GROUPS: dict[Kind, str] = {
    "backbone": "datk.backbones",
    "alignment": "datk.alignments",
    "regularizer": "datk.regularizers",
    "pair": "datk.pairs",
    "recipe": "datk.recipes",
    "command": "datk.commands",
    "hook": "datk.hooks",
}
KINDS: tuple[Kind, ...] = get_args(Kind)
COMPONENTS: tuple[Kind, ...] = ("backbone", "alignment", "regularizer", "pair")

_FILE_REFERENCE = re.compile(r"(?P<path>.+\.py):(?P<attribute>[A-Za-z_]\w*)")


@dataclass(frozen=True)
class Plugin:
    """Where a component is; nothing of it has been imported."""

    kind: Kind
    name: str
    target: str
    """`module:attribute` or `module`; `path.py:Class` for a file; the path of a recipe."""
    dist: str
    """Distribution that provides it; empty for a file."""

    @property
    def label(self) -> str:
        """Short name in messages, metrics and option keys: that of the class for a file."""
        return self.name if self.dist else self.target.rpartition(":")[2]

    @property
    def summary(self) -> str:
        """First line of the docstring (of a recipe: of its leading comment), read without importing."""
        if self.kind == "recipe":
            first = Path(self.target).read_text(encoding="utf-8").partition("\n")[0]
            return first.removeprefix("#").strip() if first.startswith("#") else ""
        module, _, attribute = self.target.partition(":")
        source = Path(module) if not self.dist else _module_file(module)
        if source is None:
            return ""
        try:
            tree = ast.parse(source.read_text(encoding="utf-8"))
        except (OSError, SyntaxError, ValueError):
            return ""
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == attribute:
                return (ast.get_docstring(node) or "").partition("\n")[0]
        return ""


def _module_path(module: str) -> Path | None:
    """Path of a module without suffix. Only the top-level package is looked up: find_spec of a submodule
    would import its parents."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or not (spec.submodule_search_locations or spec.origin):
        return None
    root = Path(next(iter(spec.submodule_search_locations))) if spec.submodule_search_locations else None
    return root.joinpath(*rest) if root else Path(str(spec.origin)).with_suffix("")


def _module_file(module: str) -> Path | None:
    path = _module_path(module)
    if path is None:
        return None
    return next((f for f in (path.with_name(path.name + ".py"), path / "__init__.py") if f.is_file()), None)


def _normalized(dist: str) -> str:
    return re.sub(r"[-_.]+", "-", dist).lower()


@functools.cache
def _entry_points(kind: Kind, only: str | None) -> tuple[Plugin, ...]:
    allowed = (
        None if only is None else {_normalized(name.strip()) for name in only.split(",") if name.strip()}
    )
    found = []
    for entry in importlib.metadata.entry_points(group=GROUPS[kind]):
        dist = _normalized(entry.dist.name) if entry.dist else "unknown"
        if allowed is None or dist in allowed:
            found.append(Plugin(kind, entry.name, entry.value.replace(" ", ""), dist))
    return tuple(found)


def _recipes(folder: Plugin) -> Iterator[Plugin]:
    """An entry point of the group of recipes names a package folder; each TOML file in it is a recipe."""
    path = _module_path(folder.target)
    for file in sorted(path.glob("*.toml")) if path else ():
        yield Plugin("recipe", file.stem, str(file), folder.dist)


def find(kind: Kind) -> list[Plugin]:
    """All plugins of a kind, by name. `DATK_PLUGINS=dist,...` limits them to those distributions."""
    found = list(_entry_points(kind, os.environ.get("DATK_PLUGINS")))
    if kind == "recipe":
        found = [recipe for folder in found for recipe in _recipes(folder)]
    return sorted(found, key=lambda plugin: (plugin.name, plugin.dist))


def resolve(kind: Kind, reference: str) -> Plugin:
    """The one plugin that `reference` means: a name, `dist:name`, or `path/file.py:Class`.

    Raises `PluginError` for an unknown name, for a name that two distributions use, for a missing file.
    """
    if match := _FILE_REFERENCE.fullmatch(reference):
        path = Path(match["path"]).expanduser().resolve()
        if not path.is_file():
            raise PluginError(f"no file {match['path']} for {kind} '{reference}'; give path/to/file.py:Class")
        return Plugin(kind, f"{path}:{match['attribute']}", f"{path}:{match['attribute']}", dist="")
    if reference.endswith(".py"):
        raise PluginError(f"{kind} '{reference}' names a file only; add the class: {reference}:Class")
    known = find(kind)
    dist, _, name = reference.rpartition(":")
    matches = [p for p in known if p.name == name and (not dist or p.dist == _normalized(dist))]
    if not matches:
        hint = did_you_mean(
            reference, [p.name for p in known] + [f"{p.dist}:{p.name}" for p in known if dist]
        )
        raise PluginError(f"unknown {kind} '{reference}'{hint}")
    if len(matches) > 1:
        choices = " or ".join(f"{p.dist}:{p.name}" for p in matches)
        raise PluginError(f"{kind} '{reference}' is provided twice; write {choices}")
    return matches[0]


def _import_file(path: str) -> ModuleType:
    name = f"datk_file_{hashlib.sha256(path.encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def load(plugin: Plugin) -> Any:
    """Import what the plugin names. Raises `PluginError` that names it for any failure in its code."""
    module_name, separator, attribute = plugin.target.rpartition(":")
    if not separator:
        module_name, attribute = attribute, ""
    origin = f"of distribution {plugin.dist}" if plugin.dist else "in a file"
    try:
        module = importlib.import_module(module_name) if plugin.dist else _import_file(module_name)
        return functools.reduce(getattr, attribute.split("."), module) if attribute else module
    except Exception as error:
        raise PluginError(
            f"{plugin.kind} '{plugin.name}' {origin} cannot be loaded: {type(error).__name__}: {error}"
        ) from error


def load_all(kind: Kind) -> Iterator[tuple[Plugin, Any]]:
    """Load every plugin of a kind; one that fails becomes a warning that names it."""
    for plugin in find(kind):
        try:
            yield plugin, load(plugin)
        except PluginError as error:
            warnings.warn(str(error), stacklevel=2)
