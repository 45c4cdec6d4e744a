"""`datk bench`: a suite of experiments, as tables."""

import shlex
import sys
from pathlib import Path

import click

from datk.cli.streams import say


@click.command("bench")
@click.argument("suite")
@click.option("--epochs", type=click.IntRange(min=1), metavar="N", help="Epochs of every run.")
@click.option("--seeds", type=click.IntRange(min=1), metavar="N", help="The first N seeds, in place of all.")
@click.option(
    "--jobs", type=click.IntRange(min=1), default=1, metavar="N", show_default=True, help="Runs at a time."
)
@click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="An option of all runs that have it; repeatable.",
)
@click.option("--out", metavar="DIR", help="Folder of runs and tables.  [default: runs/bench-SUITE]")
def bench(
    suite: str, epochs: int | None, seeds: int | None, jobs: int, overrides: tuple[str, ...], out: str | None
) -> None:
    """Run a suite and make its tables.

    SUITE is the name of an installed suite or a .toml file. Runs that are complete are not repeated; the same
    command goes on after an interruption.

    \b
    datk bench deepmerge-ii                     the tables of the paper
    datk bench deepmerge-ii --epochs 2 --seeds 1
    datk bench mine.toml --jobs 4 --set backbone.name=resnet18
    """
    from datk.base import processes
    from datk.base.errors import ConfigError
    from datk.base.files import write_json, write_text, writing
    from datk.bench import tables
    from datk.bench.folder import check_folder
    from datk.bench.suite import read_suite
    from datk.bench.sweep import run_suite
    from datk.cli.console import bench as console
    from datk.data.published.records import MissingDataError

    if processes.started_by_torchrun():
        raise ConfigError("datk bench starts processes itself; leave torchrun away and use --jobs")
    read, entries = read_suite(suite)
    chosen = read.first_seeds(seeds) if seeds is not None else read.seeds
    name = Path(suite).stem.rpartition(":")[2]
    folder = Path(out) if out is not None else Path("runs") / f"bench-{name}"
    check_folder(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lines = len(entries) + len(read.shallow) * len(read.table)
    progress = console.Progress(lines * len(chosen))
    try:
        outcomes = run_suite(
            entries,
            chosen,
            folder,
            epochs=epochs,
            overrides=overrides,
            jobs=jobs,
            tell=progress.tell,
            note=progress.note,
        )
        if read.shallow:
            from datk.bench.shallow_runs import run_shallow

            outcomes += run_shallow(read, outcomes, folder, progress.tell)
    except KeyboardInterrupt:
        say("interrupted; the same command goes on", err=True)
        raise SystemExit(130) from None
    if all(outcome.status == "data missing" for outcome in outcomes):
        raise MissingDataError(outcomes[0].error)
    command = shlex.join(["datk", *sys.argv[1:]])
    filled = tables.fill(read, outcomes)
    page = folder / f"{name}.md"  # several suites may share a folder
    write_text(page, tables.markdown(read, filled, command))
    write_text(page.with_name(f"{name}.csv"), tables.csv_text(read, filled))
    write_json(page.with_name(f"{name}.json"), tables.record(read, outcomes, command))
    console.show_tables(read, filled, page)
    if any(outcome.status == "failed" for outcome in outcomes):
        raise SystemExit(1)
