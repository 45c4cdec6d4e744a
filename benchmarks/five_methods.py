"""The five methods of DeepMerge II on one pair, several seeds each, as a Markdown table.

    python benchmarks/five_methods.py --out runs/mock
    python benchmarks/five_methods.py --config benchmarks/sdss-pair.toml --out runs/sdss

Runs that are complete are not repeated; an interrupted one goes on.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

import datk
from datk.cli import parse_seeds
from datk.experiment import summarize

# Weights of the loss terms as in the paper's code; with DANN its regularizers and the domain classifier's
# learning rate are turned down.
METHODS: dict[str, dict[str, Any]] = {
    "source only": {"align": "none"},
    "MMD": {"align": "mmd"},
    "MMD + Fisher + entropy": {"align": "mmd", "reg": "fisher,entropy"},
    "DANN": {"align": "dann"},
    "DANN + Fisher + entropy": {
        "align": {"dann": {"lr_mult": 0.01}},
        "reg": {"fisher": {"within": 1e-4}, "entropy": {"weight": 1e-4}},
    },
}


def row(name: str, results: Sequence[datk.RunResult]) -> str:
    """A line of the table: test metrics as mean ± standard deviation."""
    summary = summarize(results)

    def cell(domain: str, metric: str) -> str:
        value = summary[domain]["test"][metric]
        return f"{value['mean']:.3f} ± {value['std'] or 0:.3f}"

    cells = [
        cell("source", "accuracy"),
        *(cell("target", metric) for metric in ("accuracy", "auc", "f1", "brier")),
    ]
    return f"| {name} | {' | '.join(cells)} |"


@click.command()
@click.option("--config", metavar="FILE", help="Options of all runs.")
@click.option("--backbone", default="deepmerge", metavar="NAME")
@click.option("--seed", "seeds", default="0-4", metavar="SEEDS")
@click.option("--epochs", type=int)
@click.option("--out", required=True, type=Path, metavar="DIR")
def main(config: str | None, backbone: str, seeds: str, epochs: int | None, out: Path) -> None:
    """Run the five methods and print their table."""
    lines = [
        "| method | source accuracy | target accuracy | target AUC | target F1 | target Brier |",
        "|---|---|---|---|---|---|",
    ]
    for name, terms in METHODS.items():
        results = []
        for seed in parse_seeds(seeds) or []:
            folder = out / name.lower().replace(" + ", "-").replace(" ", "-") / f"seed-{seed}"
            results.append(
                datk.run(
                    backbone=backbone,
                    config=config,
                    seed=seed,
                    epochs=epochs,
                    out=folder,
                    resume=True,
                    **terms,
                )
            )
            click.echo(f"{folder}: {results[-1].metrics['target']['test']['accuracy']:.3f}", err=True)
        lines.append(row(name, results))
    first = results[0]
    click.echo("\n".join(lines))
    source, target = (first.metrics[domain]["test"]["n"] for domain in ("source", "target"))
    click.echo(
        f"\nTest rows: {source} source, {target} target; seeds {seeds}; split {first.split}; "
        f"epoch by {first.selected_by}; {first.device}; datk {first.datk}."
    )


if __name__ == "__main__":
    main()
