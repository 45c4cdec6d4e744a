"""`datk data`: published data of the pairs, and what is wrong with any data."""

from pathlib import Path

import click

from datk.cli.streams import say


@click.group("data")
def data() -> None:
    """Fetch published data; look for faults in any data."""


@data.command("list")
def list_() -> None:
    """List the pairs, and which of their data are here."""
    from datk.cli.console import data as console
    from datk.data.published.catalog import pairs

    console.show_pairs(pairs())


@data.command()
@click.argument("pair")
def show(pair: str) -> None:
    """Where the data of PAIR come from, and what there is of them."""
    from datk.cli.console import data as console
    from datk.data.published import catalog

    console.show_pair(catalog.pair(pair))


@data.command()
@click.argument("pair")
@click.option(
    "--from", "origin", metavar="WHERE", help="URL of another entry, or a folder of downloaded files."
)
@click.option("--force", is_flag=True, help="Replace what has been fetched.")
def fetch(pair: str, origin: str | None, force: bool) -> None:
    """Download the published data of PAIR, check and convert them.

    \b
    datk data fetch illustris-sdss
    datk data fetch illustris-sdss --from downloads/
    """
    from datk.cli.console import data as console
    from datk.data.published import catalog
    from datk.data.published.fetch import fetch

    record = catalog.record_of(pair)
    progress = console.progress()
    try:
        there, new = fetch(record, origin, force=force, progress=progress)
    except KeyboardInterrupt:
        progress.stop()
        say("interrupted; the same command goes on where this one stopped", err=True)
        raise SystemExit(130) from None
    finally:
        progress.stop()
    console.show_fetched(record, there, new)


@data.command()
@click.argument("publication")
@click.option("--out", required=True, metavar="DIR", help="A new folder.")
@click.option(
    "--scale",
    default=0.05,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Size in units of the publication's.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of what is made up.")
def mock(publication: str, out: str, scale: float, seed: int) -> None:
    """Make a miniature of the data of PUBLICATION, to try things out without a download."""
    from datk.cli.console import data as console
    from datk.data.published import catalog

    folder = Path(out).expanduser()
    console.show_mock(folder, catalog.write_mock(publication, folder, scale, seed))


@data.command()
@click.argument("pair")
@click.option("--config", metavar="FILE", help="Options from a TOML or JSON file.")
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="One option; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.pass_context
def audit(
    ctx: click.Context, pair: str, config: str | None, overrides: tuple[str, ...], as_json: bool
) -> None:
    """Look for duplicates, leaks and label shortcuts in the data of PAIR.

    Exit code 1 if there is a finding that would spoil the scores. Target labels are not looked at.

    \b
    datk data audit mock-mergers
    datk data audit arrays --config my-data.toml
    """
    import json

    from datk.cli.console.audit import show_audit
    from datk.config.resolve import resolve
    from datk.data import audit as audits

    experiment = resolve(config=config, selectors={"pair": pair}, overrides=overrides, to_run=False)
    data, task = experiment.pair, experiment.task
    report = audits.audit(data.cls(data.config), task.cls(task.config), experiment.config)
    if as_json:
        say(json.dumps({"pair": experiment.pair.label} | audits.as_json(report), indent=2))
    else:
        show_audit(f"audit of {experiment.pair.label}", report)
    if report.count("high"):
        ctx.exit(1)
