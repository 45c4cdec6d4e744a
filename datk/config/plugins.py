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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

from datk.base.errors import PluginError, did_you_mean

Kind = Literal[
    "backbone", "alignment", "regularizer", "pair", "selector", "task", "recipe", "suite", "command", "hook"
]

GROUPS: dict[Kind, str] = {
    "backbone": "datk.backbones",
    "alignment": "datk.alignments",
    "regularizer": "datk.regularizers",
    "pair": "datk.pairs",
    "selector": "datk.selectors",
    "task": "datk.tasks",
    "recipe": "datk.recipes",
    "suite": "datk.suites",
    "command": "datk.commands",
    "hook": "datk.hooks",
}
KINDS: tuple[Kind, ...] = get_args(Kind)
FILES: tuple[Kind, ...] = ("recipe", "suite")
"""Kinds that are TOML files: their entry points name package folders."""
COMPONENTS: tuple[Kind, ...] = ("backbone", "alignment", "regularizer", "pair", "selector", "task")


@dataclass(frozen=True)
class Plugin:
    """Where a component is; nothing of it has been imported."""

    kind: Kind
    name: str
    target: str
    """`module:attribute` or `module`; `path.py:Class` for a file; the path of a recipe or suite."""
    dist: str
    """Distribution that provides it; empty for a file."""

    @property
    def label(self) -> str:
        """Short name in messages, metrics and option keys: that of the class for a file."""
        return self.name if self.dist else self.target.rpartition(":")[2]

    @property
    def reference(self) -> str:
        """What names it wherever there are others of its name: `dist:name`, or the path of a file."""
        return f"{self.dist}:{self.name}" if self.dist else self.name

    @property
    def summary(self) -> str:
        """First line of the docstring (of a file: of its leading comment), read without importing."""
        try:
            if self.kind in FILES:
                first = Path(self.target).read_text(encoding="utf-8").partition("\n")[0]
                return first.removeprefix("#").strip() if first.startswith("#") else ""
            module, attribute = self._parts
            source = _module_file(module) if self.dist else Path(module)
            return _summary(source.read_text(encoding="utf-8"), attribute) if source else ""
        except (OSError, SyntaxError, ValueError):
            return ""

    @property
    def _parts(self) -> tuple[str, str]:
        """Module (or file) and attribute; no attribute for a whole module."""
        module, colon, attribute = self.target.rpartition(":")
        return (module, attribute) if colon else (attribute, "")

    def __str__(self) -> str:
        return f"{self.kind} '{self.name}' of distribution {self.dist}" if self.dist else f"'{self.name}'"


def _summary(source: str, attribute: str) -> str:
    """First line of the docstring of a class or function in source text, or of the text itself."""
    tree = ast.parse(source)
    for node in tree.body if attribute else [tree]:
        if isinstance(node, ast.Module) or (
            isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == attribute
        ):
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


def _files(folder: Plugin) -> Iterator[Plugin]:
    """An entry point of recipes or suites names a package folder; each TOML file in it is one."""
    path = _module_path(folder.target)
    for file in sorted(path.glob("*.toml")) if path else ():
        yield Plugin(folder.kind, file.stem, str(file), folder.dist)


@functools.cache
def _entry_points(group: str, path: tuple[str, ...]) -> importlib.metadata.EntryPoints:
    """Of all distributions on a path. What is installed is read once: a command asks several times, and
    nothing is installed while it runs."""
    return importlib.metadata.entry_points(group=group)


def find(kind: Kind) -> list[Plugin]:
    """All plugins of a kind, by name. `DATK_PLUGINS=dist,...` limits them to those distributions."""
    only = os.environ.get("DATK_PLUGINS")
    allowed = only and {_normalized(name.strip()) for name in only.split(",")}
    found = []
    for entry in _entry_points(GROUPS[kind], tuple(sys.path)):
        dist = _normalized((entry.dist and entry.dist.name) or "unknown")
        if not allowed or dist in allowed:
            found.append(Plugin(kind, entry.name, re.sub(r"\s|\[.*", "", entry.value), dist))
    if kind in FILES:
        found = [file for folder in found for file in _files(folder)]
    return sorted(found, key=lambda plugin: (plugin.name, plugin.dist))


def matching(kind: Kind, reference: str) -> list[Plugin]:
    """The plugins that a name or `dist:name` may mean."""
    dist, colon, name = reference.rpartition(":")
    return [p for p in find(kind) if p.name == name and (not colon or p.dist == _normalized(dist))]


def is_file(reference: str) -> bool:
    """Whether a reference has the form `path/file.py:Class`, well or badly written."""
    return re.search(r"\.py(:|$)", reference) is not None


def resolve(kind: Kind, reference: str) -> Plugin:
    """The one plugin that `reference` means: a name, `dist:name`, or `path/file.py:Class`.

    Raises `PluginError` for an unknown name, for a name that two distributions use, for a missing file.
    """
    if is_file(reference):
        return _in_file(kind, reference)
    matches = matching(kind, reference)
    if not matches:
        raise PluginError(f"unknown {kind} '{reference}'{suggestion([kind], reference)}")
    if len(matches) > 1:
        choices = " or ".join(f"{p.dist}:{p.name}" for p in matches)
        raise PluginError(f"{kind} '{reference}' is in {len(matches)} distributions; write {choices}")
    return matches[0]


def full_name(kind: Kind, reference: str) -> str:
    """The reference of the one plugin that a reference means, or the text itself if there is no such one."""
    try:
        return resolve(kind, reference).reference
    except PluginError:
        return reference


def suggestion(kinds: Iterable[Kind], reference: str) -> str:
    """The end of an error message for a reference that none of the plugins of these kinds has."""
    known = [plugin for kind in kinds for plugin in find(kind)]
    if ":" in reference:
        name = reference.rpartition(":")[2]
        elsewhere = [plugin for plugin in known if plugin.name == name]
        names = [f"{plugin.dist}:{plugin.name}" for plugin in elsewhere or known]
    else:
        names = [plugin.name for plugin in known]
    limited = os.environ.get("DATK_PLUGINS")
    return did_you_mean(reference, names) + (f" (DATK_PLUGINS={limited} hides others)" if limited else "")


def _in_file(kind: Kind, reference: str) -> Plugin:
    match = re.fullmatch(r"(?P<path>.+?\.py)(?P<attribute>:[A-Za-z_]\w*)?", reference)
    if match is None or (match["attribute"] is None and kind != "hook"):
        raise PluginError(f"'{reference}' names no class; write path/to/file.py:Class")
    try:
        path = Path(match["path"]).expanduser().resolve()
        there = path.is_file()
    except (OSError, RuntimeError, ValueError):  # no such home, too long, a null byte
        there = False
    if not there:
        form = "path/to/file.py" if kind == "hook" else "path/to/file.py:Class"
        raise PluginError(f"there is no file {match['path']}; write {form}")
    target = f"{path}{match['attribute'] or ''}"
    return Plugin(kind, target, target, dist="")


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
    name, attribute = plugin._parts
    try:
        module = importlib.import_module(name) if plugin.dist else _import_file(name)
    except (Exception, SystemExit) as error:
        raise PluginError(f"{plugin} cannot be loaded: {type(error).__name__}: {error}") from error
    try:
        return functools.reduce(getattr, attribute.split("."), module) if attribute else module
    except AttributeError:
        classes = [
            key
            for key, value in vars(module).items()
            if isinstance(value, type) and value.__module__ == module.__name__
        ]
        hint = did_you_mean(attribute, classes) if classes else ""
        raise PluginError(f"{plugin} cannot be loaded: there is no '{attribute}' in it{hint}") from None


def load_all(kind: Kind) -> Iterator[tuple[Plugin, Any]]:
    """Load every plugin of a kind; one that fails becomes a warning that names it."""
    for plugin in find(kind):
        try:
            yield plugin, load(plugin)
        except PluginError as error:
            warnings.warn(str(error), stacklevel=2)
