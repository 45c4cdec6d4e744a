"""`datk plugins`: what can be composed."""

from collections.abc import Sequence

import click

from datk.base.errors import PluginError
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
    from datk.config.resolve import component_class

    for plugin in found:
        if plugin.kind in finding.COMPONENTS:
            cls = component_class(plugin)
            console.show_component(plugin, docstring(cls), options(cls.Config))
        elif plugin.kind in finding.FILES:
            console.show_file(plugin)
        else:
            console.show_text(plugin, plugin.summary)


@plugins.command("check")
@click.argument("names", nargs=-1)
def plugins_check(names: tuple[str, ...]) -> None:
    """Check that components keep the interface; all installed ones if none is named."""
    named = [plugin for name in names for plugin in _named_plugins(name)]
    from datk.cli.console import plugins as console
    from datk.config.resolve import component_class
    from datk.testing import check

    if named:
        chosen = [(plugin, component_class(plugin)) for plugin in named]
    else:
        chosen = [loaded for kind in finding.COMPONENTS for loaded in finding.load_all(kind)]

    passed = [console.show_checks(plugin, check(cls)) for plugin, cls in chosen]
    if not all(passed):
        raise PluginError(f"{passed.count(False)} of {len(passed)} components do not keep the interface")
