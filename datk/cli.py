"""The command line: a thin layer over `datk.experiment`. A command imports the heavy modules it uses."""

import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from datk import __version__, plugins
from datk.cli_bench import bench
from datk.cli_data import data
from datk.errors import ConfigError, DatkError, PluginError, did_you_mean

Command = Callable[..., Any]

TYPE_CHECKING = False
if TYPE_CHECKING:  # torch is not imported before it is needed
    from datk.config import Experiment


class PluginGroup(click.Group):
    """The group of shipped commands and of those in the entry-point group `datk.commands`.

    A plugin's command is imported when it is called, not to be listed.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        return sorted({*self.commands, *(plugin.name for plugin in plugins.find("command"))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name; a shipped one cannot be replaced."""
        if cmd_name in self.commands:
            return self.commands[cmd_name]
        if not plugins.matching("command", cmd_name):
            return None
        plugin = plugins.resolve("command", cmd_name)
        command = plugins.load(plugin)
        if not isinstance(command, click.Command):
            raise PluginError(f"{plugin} cannot be used: it is no click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, those of plugins by their summary."""
        rows = [(name, command.get_short_help_str(80)) for name, command in self.commands.items()]
        rows += [(plugin.name, f"{plugin.summary} ({plugin.dist})") for plugin in plugins.find("command")]
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


def _composition(command: Command) -> Command:
    """The flags that choose what is run."""
    for option in reversed(
        [
            click.option("--backbone", metavar="NAME", help="Network, for instance deepmerge or resnet18."),
            click.option(
                "--align", metavar="NAMES", help="Alignment, or several: mmd,coral. none is source only."
            ),
            click.option("--reg", metavar="NAMES", help="Regularizers: fisher,entropy."),
            click.option("--pair", metavar="NAME", help="Domain pair; arrays reads your own files."),
            click.option("--recipe", metavar="NAME", help="A recipe's options, by name or .toml file."),
            click.option("--config", metavar="FILE", help="Options from a TOML or JSON file."),
            click.option(
                "--set", "overrides", metavar="KEY=VALUE", multiple=True, help="One option; repeatable."
            ),
            click.option("--init", metavar="RUN", help="Start from the weights of another run folder."),
            click.option("--seed", metavar="N[,N...]", help="Seed; several (0,1,2 or 0-4) make a run each."),
            click.option("--epochs", type=int, metavar="N", help="Passes over the source images."),
            click.option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps."),
        ]
    ):
        command = option(command)
    return command


def parse_seeds(text: str | None) -> list[int] | None:
    """Seeds of `0`, `0,1,2` or `0-4`, in order. Raises `ConfigError` for another form or a repetition."""
    if text is None:
        return None
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,18})(?:-(\d{1,18}))?\s*", part)
        if not match or int(match[2] or match[1]) - int(match[1]) not in range(10_000):
            raise ConfigError(f"--seed {text}: write a whole number, a list 0,1,2 or a range 0-4")
        seeds += range(int(match[1]), int(match[2] or match[1]) + 1)
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seed {text}: a seed is named twice")
    return seeds


@cli.command()
@_composition
@click.option(
    "--out", metavar="DIR", help="Run folder; holds seed-N/ for several seeds.  [default: a new one in runs/]"
)
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option("--force", is_flag=True, help="Replace the run in --out.")
@click.option("--quiet", is_flag=True, help="Show nothing but the run folder.")
def run(
    overrides: tuple[str, ...],
    recipe: str | None,
    config: str | None,
    seed: str | None,
    out: str | None,
    resume: bool,
    force: bool,
    quiet: bool,
    **selectors: Any,
) -> None:
    """Train, adapt and evaluate.

    \b
    datk run                                         mmd on synthetic galaxies
    datk run --align none                            the source-only baseline
    datk run --align mmd,coral --set align.coral.weight=0.5
    datk run --pair arrays --config my-data.toml     your own images
    """
    if resume and force:
        raise ConfigError("--resume goes on with a run and --force replaces it; choose one")
    if resume and out is None:
        raise ConfigError("--resume needs --out, the folder of the run to go on with")
    seeds = parse_seeds(seed)
    if resume and recipe is None and config is None:
        config = _recorded_config(Path(str(out)), seeds)

    from datk import distributed
    from datk.config import resolve
    from datk.experiment import default_folder

    if seeds is not None:
        selectors["seed"] = seeds[0]
    experiment = resolve(recipe=recipe, config=config, selectors=selectors, overrides=overrides)
    with distributed.joined(experiment.config.device):
        folder = Path(out) if out is not None else default_folder(experiment)
        _run(experiment, seeds or [experiment.config.seed], folder, resume, force, quiet)


def _run(
    experiment: "Experiment", seeds: Sequence[int], folder: Path, resume: bool, force: bool, quiet: bool
) -> None:
    """Run and show; of several processes one shows."""
    from datk import console, distributed
    from datk.experiment import execute, execute_seeds, summarize

    leads = distributed.leads()
    told = leads and not quiet
    options: dict[str, Any] = {"resume": resume, "force": force, "reporters": console.reporters(not told)}
    try:
        if len(seeds) == 1:
            result = execute(experiment, folder, **options)
            if told:
                console.show_result(result)
        else:
            results = execute_seeds(experiment, seeds, folder, **options)
            if told:
                console.show_seeds(results, summarize(results))
    except KeyboardInterrupt:
        if leads:
            way_on = f"; go on with the same command and --resume --out {folder}" if folder.is_dir() else ""
            click.echo(f"interrupted{way_on}", err=True)
        raise SystemExit(130) from None
    if told:
        console.show_folder(folder)
    elif leads:
        click.echo(folder)


def _recorded_config(out: Path, seeds: Sequence[int] | None) -> str | None:
    """The configuration that a resumed run was started with."""
    several = sorted(out.glob("seed-*/config.json"))
    if several and seeds is None:
        raise ConfigError(f"{out} holds runs of several seeds; say which with --seed")
    if not out.is_dir():
        raise ConfigError(f"there is no run {out} to go on with; leave out --resume to start one")
    recorded = [*several, *out.glob("config.json")]
    return str(recorded[0]) if recorded else None


@cli.group("plugins", invoke_without_command=True)
@click.pass_context
def plugins_group(ctx: click.Context) -> None:
    """List what is installed; show or check a component."""
    if ctx.invoked_subcommand is None:
        from datk import console

        console.show_plugins({kind: plugins.find(kind) for kind in plugins.KINDS})


def _named_plugins(name: str, kinds: Sequence[plugins.Kind] = plugins.COMPONENTS) -> list[plugins.Plugin]:
    """The plugins of a name, whatever their kind."""
    if plugins.is_file(name):
        return [_file_plugin(name)]
    found = [plugins.resolve(kind, name) for kind in kinds if plugins.matching(kind, name)]
    if not found:
        raise PluginError(f"unknown component '{name}'{plugins.suggestion(kinds, name)}")
    return found


def _file_plugin(reference: str) -> plugins.Plugin:
    """The component in a file, with the kind that its class has."""
    from datk.config import BASES

    cls = plugins.load(plugins.resolve("alignment", reference))
    for kind, base in BASES.items():
        if isinstance(cls, type) and issubclass(cls, base):
            return plugins.resolve(kind, reference)
    raise PluginError(f"'{reference}' is no Backbone, AlignmentLoss, Regularizer or DomainPair")


@plugins_group.command("show")
@click.argument("name")
def plugins_show(name: str) -> None:
    """Docstring, reference and options of a component; the text of a recipe or suite."""
    found = _named_plugins(name, plugins.KINDS)
    from datk import console
    from datk.config import component_class
    from datk.describe import docstring, options

    for plugin in found:
        if plugin.kind in plugins.COMPONENTS:
            cls = component_class(plugin)
            console.show_component(plugin, docstring(cls), options(cls.Config))
        elif plugin.kind in plugins.FILES:
            console.show_file(plugin)
        else:
            console.show_text(plugin, plugin.summary)


@plugins_group.command("check")
@click.argument("names", nargs=-1)
def plugins_check(names: tuple[str, ...]) -> None:
    """Check that components keep the interface; all installed ones if none is named."""
    named = [plugin for name in names for plugin in _named_plugins(name)]
    from datk import console
    from datk.config import component_class
    from datk.testing import check

    if named:
        chosen = [(plugin, component_class(plugin)) for plugin in named]
    else:
        chosen = [loaded for kind in plugins.COMPONENTS for loaded in plugins.load_all(kind)]

    passed = [console.show_checks(plugin, check(cls)) for plugin, cls in chosen]
    if not all(passed):
        raise PluginError(f"{passed.count(False)} of {len(passed)} components do not keep the interface")


@cli.group("config", no_args_is_help=False)
def config_group() -> None:
    """Look at configurations."""


@config_group.command("show")
@_composition
def config_show(
    overrides: tuple[str, ...], recipe: str | None, config: str | None, seed: str | None, **selectors: Any
) -> None:
    """Print the resolved configuration as TOML that --config reads."""
    from datk.config import resolve
    from datk.describe import config_toml

    seeds = parse_seeds(seed)
    if seeds is not None:
        selectors["seed"] = seeds[0]
    experiment = resolve(recipe=recipe, config=config, selectors=selectors, overrides=overrides)
    click.echo(config_toml(experiment), nl=False)


cli.add_command(data)
cli.add_command(bench)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    click.echo(f"warning: {message}", err=True)


def _usage(error: click.ClickException) -> str:
    """What is wrong with the flags; where their help is, if there is no better advice."""
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    help_is_at = f"; see {context.command_path} --help" if context and not message.endswith("?") else ""
    return message[:1].lower() + message[1:] + help_is_at


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. Exit code 2 for the user's mistakes, 1 for ours; DATK_DEBUG=1: tracebacks."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    with warnings.catch_warnings():
        debug = os.environ.get("DATK_DEBUG") == "1"
        if not debug:
            warnings.showwarning = _show_warning
        try:
            code = cli.main(arguments or ["--help"], prog_name="datk", standalone_mode=False)
        except click.Abort:
            code = 130
        except Exception as error:
            if debug:
                traceback.print_exc()
            code, message = _explained(error)
            click.echo(" ".join(message.split()), err=True)
    if isinstance(code, int) and code:  # a plugin's command may return anything
        sys.exit(code)


def _who() -> str:
    """Which of several processes is speaking, if there are several."""
    return f"rank {os.environ.get('RANK', 0)}: " if int(os.environ.get("WORLD_SIZE", "1")) > 1 else ""


def _explained(error: Exception) -> tuple[int, str]:
    """Exit code and message of an error."""
    if isinstance(error, DatkError):
        return 2, f"{_who()}error: {error}"
    if isinstance(error, click.ClickException):
        return error.exit_code, f"error: {_usage(error)}"
    return 1, (
        f"{_who()}internal error: {type(error).__name__}: {error}; this is a fault in datk or a plugin, "
        "DATK_DEBUG=1 shows where"
    )
