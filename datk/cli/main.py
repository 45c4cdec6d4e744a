"""The command line: the group of all commands, and what becomes of errors. A command imports the heavy
modules that it uses when it is called."""

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

import click

from datk.base.environment import processes_count
from datk.base.errors import DatkError, PluginError, did_you_mean
from datk.base.signals import stopped_by_signals
from datk.base.text import one_line, shortened
from datk.base.version import __version__
from datk.cli.bench import bench
from datk.cli.config import config
from datk.cli.data import data
from datk.cli.plugins import plugins
from datk.cli.run import run
from datk.cli.streams import say, sturdy_streams
from datk.config import plugins as finding


class PluginGroup(click.Group):
    """The group of shipped commands and of those in the entry-point group `datk.commands`.

    A plugin's command is imported when it is called, not to be listed.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        return sorted({*self.commands, *(plugin.name for plugin in finding.find("command"))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name; a shipped one cannot be replaced."""
        if cmd_name in self.commands:
            return self.commands[cmd_name]
        if not finding.matching("command", cmd_name):
            return None
        plugin = finding.resolve("command", cmd_name)
        command = finding.load(plugin)
        if not isinstance(command, click.Command):
            raise PluginError(f"{plugin} cannot be used: it is no click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, those of plugins by their summary."""
        rows = [(name, command.get_short_help_str(80)) for name, command in self.commands.items()]
        rows += [
            (plugin.name, one_line(f"{plugin.summary} ({plugin.dist})")) for plugin in finding.find("command")
        ]
        with formatter.section("Commands"):
            formatter.write_dl(sorted(rows))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the closest command for an unknown one."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(
                f"unknown command '{args[0]}'{did_you_mean(args[0], self.list_commands(ctx))}"
            )
        return super().resolve_command(ctx, args)


@click.group(cls=PluginGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="datk")
def cli() -> None:
    """Train a classifier on labelled source images that works on unlabelled target images.

    \b
    datk run --backbone deepmerge --align mmd --reg fisher,entropy
    datk plugins                  what can be composed
    datk plugins show mmd         options of a component
    """


for command in (run, plugins, config, data, bench):
    cli.add_command(command)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    say(f"warning: {one_line(str(message))}", err=True)


def _usage(error: click.ClickException) -> str:
    """What is wrong with the flags; where their help is, if there is no better advice."""
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    help_is_at = f"; see {context.command_path} --help" if context and not message.endswith("?") else ""
    return message[:1].lower() + message[1:] + help_is_at


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. Exit code 2 for the user's mistakes, 1 for ours; DATK_DEBUG=1: tracebacks."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    with sturdy_streams(), stopped_by_signals() as received, warnings.catch_warnings():
        code = _called(arguments or ["--help"])
    if isinstance(code, int) and code:  # a plugin's command may return anything
        sys.exit(128 + received[0] if received and code == 130 else code)


def _called(arguments: list[str]) -> Any:
    """The exit code of a command."""
    debug = os.environ.get("DATK_DEBUG") == "1"
    if not debug:
        warnings.showwarning = _show_warning
    try:
        return cli.main(arguments, prog_name="datk", standalone_mode=False)
    except click.Abort as abort:
        if isinstance(abort.__cause__, EOFError):  # click takes it for the user's end of input
            return _tell(abort.__cause__, debug)
        return 130
    except KeyboardInterrupt:
        say("interrupted", err=True)
        return 130
    except SystemExit as stop:
        from datk.config.faults import exit_fault

        if (ended := exit_fault(stop)) is not None:
            say(one_line(f"{_who()}error: {ended}"), err=True)
            return 2
        return stop.code if stop.code is None or isinstance(stop.code, int) else 1
    except Exception as error:
        return _tell(error, debug)


def _tell(error: Exception, debug: bool) -> int:
    """Say on a line what is wrong; the exit code."""
    if debug:
        traceback.print_exception(error)
    code, message = _explained(error)
    say(shortened(one_line(" ".join(message.split()))), err=True)
    return code


def _who() -> str:
    """Which of several processes is speaking, if there are several."""
    return f"rank {os.environ.get('RANK', 0)}: " if processes_count() > 1 else ""


def _explained(error: Exception) -> tuple[int, str]:
    """Exit code and message of an error."""
    if isinstance(error, DatkError):
        return 2, f"{_who()}error: {error}"
    if isinstance(error, click.ClickException):
        return error.exit_code, f"error: {_usage(error)}"
    from datk.config.faults import exception_text, plugin_fault, users_fault

    if (told := users_fault(error)) is not None:
        return 2, f"{_who()}error: {told}"
    message, ours = plugin_fault(error) or (exception_text(error), True)
    if not ours:
        return 2, f"{_who()}error: {message}; DATK_DEBUG=1 shows where"
    return 1, (
        f"{_who()}internal error: {message}; this is a fault in datk or a plugin, DATK_DEBUG=1 shows where"
    )
