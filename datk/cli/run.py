"""`datk run`: train, adapt and evaluate."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from datk.base.errors import ConfigError
from datk.cli.options import composition, parse_seeds
from datk.cli.streams import say

TYPE_CHECKING = False
if TYPE_CHECKING:  # torch is not imported before it is needed
    from datk.config.resolve import Experiment


@click.command()
@composition
@click.option(
    "--out", metavar="DIR", help="Run folder; holds seed-N/ for several seeds.  [default: a new one in runs/]"
)
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option("--force", is_flag=True, help="Replace the run in --out.")
@click.option("--hook", "hooks", metavar="FILE", multiple=True, help="Tell ./file.py of the run; repeatable.")
@click.option("--quiet", is_flag=True, help="Show nothing but the run folder.")
def run(
    overrides: tuple[str, ...],
    recipe: str | None,
    config: str | None,
    seed: str | None,
    out: str | None,
    resume: bool,
    force: bool,
    hooks: tuple[str, ...],
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
    recorded = None
    if resume and recipe is None and config is None:
        config = recorded = _recorded_config(Path(str(out)), seeds)

    from datk.config.resolve import resolve

    selectors |= {"seed": seeds[0] if seeds else None, "hooks": hooks or None}
    try:
        experiment = resolve(recipe=recipe, config=config, selectors=selectors, overrides=overrides)
    except ConfigError:
        if recorded is not None:
            _demand_readable(Path(recorded).parent)
        raise

    from datk.base import processes  # with torch, which a wrong option need not wait for
    from datk.runs.run import default_folder

    with processes.joined(experiment.config.device):
        folder = Path(out) if out is not None else default_folder(experiment)
        _run(experiment, seeds or [experiment.config.seed], folder, resume, force, quiet)


def _run(
    experiment: "Experiment", seeds: Sequence[int], folder: Path, resume: bool, force: bool, quiet: bool
) -> None:
    """Run and show; of several processes one shows."""
    from datk.base import processes
    from datk.cli.console import progress
    from datk.cli.console import results as console
    from datk.runs.run import execute
    from datk.runs.seeds import execute_seeds, summarize

    leads = processes.leads()
    told = leads and not quiet
    options: dict[str, Any] = {"resume": resume, "force": force, "reporters": progress.reporters(not told)}
    try:
        if len(seeds) == 1:
            result = execute(experiment, folder, **options)
            if told:
                console.show_result(result)
        else:
            several = execute_seeds(experiment, seeds, folder, **options)
            if told:
                console.show_seeds(several, summarize(several))
    except KeyboardInterrupt:
        if leads:
            way_on = f"; go on with the same command and --resume --out {folder}" if folder.is_dir() else ""
            say(f"interrupted{way_on}", err=True)
        raise SystemExit(130) from None
    if told:
        console.show_folder(folder)
    elif leads:
        say(folder)


def _recorded_config(out: Path, seeds: Sequence[int] | None) -> str | None:
    """The configuration that a resumed run was started with."""
    several = sorted(out.glob("seed-*/config.json"))
    if several and seeds is None:
        raise ConfigError(f"{out} holds runs of several seeds; say which with --seed")
    if not out.is_dir():
        raise ConfigError(f"there is no run {out} to go on with; leave out --resume to start one")
    recorded = [*several, *out.glob("config.json")]
    return str(recorded[0]) if recorded else None


def _demand_readable(folder: Path) -> None:
    """Raise what is wrong with the configuration in a run folder itself, if something is."""
    from datk.runs.folder import recorded_experiment

    recorded_experiment(folder)
