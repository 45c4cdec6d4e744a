"""`python -m benchmarks.speed`: measure rows, print them, keep them as JSON."""

import importlib
import json
import os
from pathlib import Path

import click
import torch

from benchmarks.speed.harness import Row, Setting, Spread, machine
from benchmarks.speed.profile import write_profile
from datk.base.devices import resolve_device
from datk.base.rng import reproducible

ROWS = (
    "step", "naive_step", "mmd", "coral", "epoch", "methods", "memory", "batch_size", "start", "inference",
    "loading", "processes", "options",
)  # fmt: skip


@click.command()
@click.argument("rows", nargs=-1, type=click.Choice(ROWS), metavar="[ROW]...")
@click.option("--all", "every", is_flag=True, help=f"All rows: {', '.join(ROWS)}.")
@click.option("--json", "out", type=click.Path(dir_okay=False), help="Write what was measured to a file.")
@click.option("--repeats", default=9, show_default=True, type=click.IntRange(min=1), help="Of each case.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--threads", default=os.cpu_count(), show_default=True, type=click.IntRange(min=1))
@click.option(
    "--profile", "folder", type=click.Path(file_okay=False), help="Write a profile of a step into a folder."
)
@click.option("--full", is_flag=True, help="Data of the paper's size; the default on a GPU.")
def main(
    rows: tuple[str, ...],
    every: bool,
    out: str | None,
    repeats: int,
    device: str,
    threads: int,
    folder: str | None,
    full: bool,
) -> None:
    """Measure how fast datk is, each ROW as ratios of cases that are timed in turn."""
    if not (rows or every or folder):
        raise click.UsageError("name rows, or ask for --all of them, or for a --profile")
    torch.set_num_threads(threads)
    where = resolve_device(device)
    setting = Setting(where, repeats, full or where.type == "cuda")
    found = machine(where)
    click.echo(f"{found['device']}, {found['threads']} threads, torch {found['versions']['torch']}")
    if folder is not None:
        with reproducible(where, deterministic=True):
            click.echo(write_profile(Path(folder), setting))
    if not (rows or every):
        return
    click.echo(f"median of {repeats} repeats (smallest to largest)\n")
    measured: dict[str, list[dict[str, object]]] = {}
    with reproducible(where, deterministic=True):
        for name in ROWS if every else rows:
            module = importlib.import_module(f"benchmarks.speed.rows.{name}")
            measured[name] = []
            for row in module.measure(setting):
                click.echo(line(row))
                measured[name].append(row.record())
            if out is not None:  # after each, so that an interruption costs one row
                Path(out).write_text(json.dumps({"machine": found, "rows": measured}, indent=1) + "\n")


def line(row: Row) -> str:
    """A row as text."""
    wanted = f"at most {row.at_most:g}" if row.at_most is not None else ""
    wanted = f"at least {row.at_least:g}" if row.at_least is not None else wanted
    mark = {True: "ok ", False: "NO ", None: "   "}[row.met]
    value = "not measured" if row.value is None else shown(row.value, row.unit)
    text = f"{mark} {row.what:<78} {value:<34} {wanted}".rstrip()
    return text + (f"\n      {row.note}" if row.note else "")


def shown(value: Spread, unit: str) -> str:
    """A spread as text."""
    return f"{value.median:.3g} {unit} ({value.low:.3g} to {value.high:.3g})"


if __name__ == "__main__":
    main()
