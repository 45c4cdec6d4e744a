"""`datk plugins`: what can be composed."""

from collections.abc import Sequence
from typing import Any

import click

from datk.base.errors import PluginError
from datk.base.text import one_line
from datk.cli.streams import say
from datk.config import plugins as finding


@click.group("plugins", invoke_without_command=True)
@click.pass_context
def plugins(ctx: click.Context) -> None:
    """List what is installed; show or check a component."""
    if ctx.invoked_subcommand is None:
        from datk.cli.console import plugins as console

        console.show_plugins({kind: finding.find(kind) for kind in finding.KINDS})


def _named_plugins(name: str, kinds: Sequence[finding.Kind] = finding.COMPONENTS) -> list[finding.Plugin]:
    """The plugins of a name, whatever their kind."""
    if finding.is_file(name):
        return [_file_plugin(name)]
    found = [finding.resolve(kind, name) for kind in kinds if finding.matching(kind, name)]
    if not found:
        raise PluginError(f"unknown component '{name}'{finding.suggestion(kinds, name)}")
    return found


def _file_plugin(reference: str) -> finding.Plugin:
    """The component in a file, with the kind that its class has."""
    from datk import interfaces
    from datk.config.resolve import BASES

    cls = finding.load(finding.resolve("alignment", reference))
    for kind, base in BASES.items():
        if isinstance(cls, type) and issubclass(cls, getattr(interfaces, base)):
            return finding.resolve(kind, reference)
    raise PluginError(f"'{reference}' is none of {', '.join(BASES.values())}")


@plugins.command("show")
@click.argument("name")
def plugins_show(name: str) -> None:
    """Docstring, reference and options of a component; the text of a recipe or suite."""
    found = _named_plugins(name, finding.KINDS)
    from datk.cli.console import plugins as console
    from datk.config.describe import docstring, options
    from datk.config.resolve import component_class, options_of

    for plugin in found:
        if plugin.kind in finding.COMPONENTS:
            cls = component_class(plugin)
            console.show_component(plugin, docstring(cls), options(options_of(cls)))
        elif plugin.kind in finding.FILES:
            console.show_file(plugin)
        else:
            console.show_text(plugin, plugin.summary)


@plugins.command("check")
@click.argument("names", nargs=-1)
def plugins_check(names: tuple[str, ...]) -> None:
    """Check that components keep the interface; all installed ones if none is named."""
    chosen, faults = _loaded(names)
    if chosen:
        from datk.cli.console import plugins as console
        from datk.testing import check

        passed = [console.show_checks(plugin, check(cls)) for plugin, cls in chosen]
        if not all(passed):
            faults.append(f"{passed.count(False)} of {len(passed)} components do not keep the interface")
    for fault in faults[:-1]:
        say(f"error: {one_line(fault)}", err=True)
    if faults:
        raise PluginError(faults[-1])


def _loaded(names: Sequence[str]) -> tuple[list[tuple[finding.Plugin, Any]], list[str]]:
    """The components of some names, or all that are installed and can be loaded; and what is wrong with
    names that stand for none. A name that is unknown is found before anything is loaded."""
    if not names:
        return [loaded for kind in finding.COMPONENTS for loaded in finding.load_all(kind)], []
    named: list[finding.Plugin] = []
    chosen: list[tuple[finding.Plugin, Any]] = []
    faults = []
    for name in names:
        try:
            named += _named_plugins(name)
        except PluginError as error:
            faults.append(str(error))
    for plugin in named:
        from datk.config.resolve import component_class

        try:
            chosen.append((plugin, component_class(plugin)))
        except PluginError as error:
            faults.append(str(error))
    return chosen, faults
