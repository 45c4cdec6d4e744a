"""`datk run`: train, adapt and evaluate."""

from collections.abc import Sequence
from contextlib import ExitStack
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
@click.option("--baseline", is_flag=True, help="Train source-only, too, in DIR/baseline, and compare.")
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
    baseline: bool,
    hooks: tuple[str, ...],
    quiet: bool,
    **selectors: Any,
) -> None:
    """Train, adapt and evaluate.

    \b
    datk run                                         mmd on synthetic galaxies
    datk run --align auto                            several methods, which vote
    datk run --align none                            the source-only baseline
    datk run --align mmd --baseline                  both, and the difference
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
        from datk.runs.recognize import recorded_config

        recorded = recorded_config(Path(str(out)), seeds)
        config = None if recorded is None else str(recorded)

    from datk.config.resolve import resolve

    selectors |= {"seed": seeds[0] if seeds else None, "hooks": hooks or None}
    try:
        experiment = resolve(recipe=recipe, config=config, selectors=selectors, overrides=overrides)
    except ConfigError:
        if recorded is not None:
            _demand_readable(recorded.parent)
        raise

    from datk.base import processes  # with torch, which a wrong option need not wait for
    from datk.runs.recognize import seeds_in
    from datk.runs.reserve import new_folder

    chosen = seeds or [experiment.config.seed]
    with processes.joined(experiment.config.device), ExitStack() as stack:
        folder = Path(out) if out is not None else stack.enter_context(new_folder(experiment, chosen))
        several = len(chosen) > 1 or (seeds is not None and bool(seeds_in(folder)))
        _run(experiment, chosen, several, folder, resume, force, baseline, quiet)


def _run(
    experiment: "Experiment",
    seeds: Sequence[int],
    several: bool,
    folder: Path,
    resume: bool,
    force: bool,
    baseline: bool,
    quiet: bool,
) -> None:
    """Run and show; of several processes one shows."""
    from datk.base import processes
    from datk.cli.console import progress
    from datk.cli.console import results as console
    from datk.runs.baseline import demand_place, execute_baseline
    from datk.runs.run import execute
    from datk.runs.seeds import execute_seeds

    leads = processes.leads()
    told = leads and not quiet
    options: dict[str, Any] = {"resume": resume, "force": force, "reporters": progress.reporters(not told)}
    try:
        if baseline:
            demand_place(folder)
        if not several:
            results = [execute(experiment, folder, **options)]
            if told:
                console.show_result(results[0])
        else:
            summary = execute_seeds(experiment, seeds, folder, **options)
            results = summary.results
            if told:
                console.show_seeds(results, summary.metrics)
        if baseline:
            del options["resume"]
            execute_baseline(experiment, results, folder, several=several, **options)
            if told:
                console.show_baseline(results)
    except KeyboardInterrupt:
        if leads:
            way_on = f"; go on with the same command and --resume --out {folder}" if _is_begun(folder) else ""
            say(f"interrupted{way_on}", err=True)
        raise SystemExit(130) from None
    if told:
        console.show_folder(folder)
    elif leads:
        say(folder)


def _is_begun(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _demand_readable(folder: Path) -> None:
    """Raise what is wrong with the configuration in a run folder itself, if something is."""
    from datk.runs.folder import recorded_experiment

    recorded_experiment(folder)
