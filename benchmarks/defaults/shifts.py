"""The shifts by which datk's defaults were chosen, as files and suites.

    python benchmarks/defaults/shifts.py DATA FOLDER

DATA holds published features and images, which are not part of datk: `office_caltech10/surf800.npz`,
`office_googlenet/googlenet1024.npz`, `msrc_voc/msrc_voc.npz`, `digits/mnist.npz`, `digits/usps.npz`. FOLDER
gets a file for each shift, and the suites tables.toml, classes.toml (other shares of the classes in the
target) and digits.toml, which `datk bench` runs there.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import interpolate

CELLS = {
    "none": ("source only", 'align = "datk:none"'),
    "per-domain": ("source only, per-domain", 'align = "datk:none", data.standardize = "per-domain"'),
    "mmd": ("MMD", 'align = "datk:mmd"'),
    "coral": ("CORAL", 'align = "datk:coral"'),
    "dann": ("DANN", 'align = "datk:dann"'),
    "auto": ("auto", 'align = "datk:auto"'),
}
SHALLOW = ["lr", "lr-z", "subspace", "coral-lr"]
QUARTER = 0.25
"""Share of the rows that stay of the classes that are made rare."""


class Shift(NamedTuple):
    """Labelled source rows and target rows; the target's labels score and are not trained on."""

    name: str
    source_x: np.ndarray
    source_y: np.ndarray
    target_x: np.ndarray
    target_y: np.ndarray


def between(data: dict[str, tuple[np.ndarray, np.ndarray]], family: str) -> Iterator[Shift]:
    """From each domain to each other one."""
    for one, (source_x, source_y) in data.items():
        for other, (target_x, target_y) in data.items():
            if one != other:
                yield Shift(f"{family}-{one}-{other}", source_x, source_y, target_x, target_y)


def of_file(path: Path, domains: dict[str, str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Rows and class numbers of the domains in a file, by short names."""
    with np.load(path) as file:
        classes = np.unique(np.concatenate([file[f"y_{name}"] for name in domains.values()]))
        return {
            short: (file[f"x_{name}"], np.searchsorted(classes, file[f"y_{name}"]))
            for short, name in domains.items()
        }


def tables(data: Path) -> Iterator[Shift]:
    """SURF histograms of four collections, GoogLeNet features of three, and two photo collections."""
    office = {"a": "amazon", "d": "dslr", "w": "webcam"}
    yield from between(of_file(data / "office_caltech10/surf800.npz", {**office, "c": "caltech10"}), "surf")
    yield from between(of_file(data / "office_googlenet/googlenet1024.npz", office), "googlenet")
    yield from between(of_file(data / "msrc_voc/msrc_voc.npz", {"msrc": "msrc", "voc": "voc"}), "photos")


def classes(data: Path) -> Iterator[Shift]:
    """Half of the target's classes missing, or rare; and generated rows without any shift but that of the
    shares."""
    chosen = ("surf-c-a", "surf-a-c", "surf-c-w", "googlenet-a-w", "googlenet-w-a", "photos-msrc-voc")
    for shift in tables(data):
        if shift.name in chosen:
            rng = np.random.default_rng(0)
            rare = rng.permutation(shift.source_y.max() + 1)[: (shift.source_y.max() + 1) // 2]
            others = ~np.isin(shift.target_y, rare)
            for how, keep in (("missing", others), ("rare", others | (rng.random(len(others)) < QUARTER))):
                yield shift._replace(
                    name=f"{shift.name}-{how}", target_x=shift.target_x[keep], target_y=shift.target_y[keep]
                )
    rng = np.random.default_rng(1)

    def rows(share: float) -> tuple[np.ndarray, np.ndarray]:
        y = (rng.random(1500) < share).astype(np.int64)
        x = rng.normal(size=(1500, 10))
        x[:, :3] += 1.8 * (y[:, None] - 0.5)
        return x.astype(np.float32), y

    for name, shares in (("same", (0.5, 0.5)), ("54-10", (0.54, 0.1))):
        (source_x, source_y), (target_x, target_y) = map(rows, shares)
        yield Shift(f"generated-{name}", source_x, source_y, target_x, target_y)


def digits(data: Path) -> Iterator[Shift]:
    """2000 rows of MNIST and 1800 of USPS, 28 x 28."""
    rng = np.random.default_rng(0)

    def drawn(path: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
        with np.load(path) as file:
            x, y = (np.concatenate([file[f"{name}_train"], file[f"{name}_test"]]) for name in "xy")
        rows = rng.permutation(len(x))[:count]
        images = torch.from_numpy(x[rows, None].astype(np.float32))
        if images.shape[-1] != 28:
            images = interpolate(images, size=(28, 28), mode="bilinear", align_corners=False)
        return images.round().clamp(0, 255).byte().numpy(), y[rows].astype(np.int64)

    domains = {
        "mnist": drawn(data / "digits/mnist.npz", 2000),
        "usps": drawn(data / "digits/usps.npz", 1800),
    }
    yield from between(domains, "digits")


def suite(title: str, shifts: list[str], shallow: bool) -> str:
    """The text of a suite with a table for each shift and the cells of all methods, with defaults alone."""
    lines = [f'title = "{title}"', "seeds = [0, 1, 2, 3, 4]", 'metrics = ["accuracy"]']
    lines += [f"shallow = {SHALLOW}".replace("'", '"')] if shallow else []
    for name in shifts:
        pair = ", ".join(
            f'{d} = "{name}.npz", {d}_x = "{d}_x", {d}_y = "{d}_y"' for d in ("source", "target")
        )
        lines += ["", "[[table]]", f'name = "{name}"', f'title = "{name}"']
        lines += [f'config.pair = {{ name = "datk:arrays", {pair} }}']
    for name, (shown, config) in CELLS.items():
        lines += ["", "[[cell]]", f'name = "{name}"', f'title = "{shown}"', f"config = {{ {config} }}"]
    return "\n".join(lines) + "\n"


def main(data: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for title, family in (("Tables", tables), ("Class shares", classes), ("Digits", digits)):
        names = []
        for shift in family(data):
            np.savez(
                folder / f"{shift.name}.npz", **{k: v for k, v in shift._asdict().items() if k != "name"}
            )
            names.append(shift.name)
        path = folder / f"{family.__name__}.toml"
        path.write_text(suite(title, names, shallow=family is not digits), encoding="utf-8")
        print(f"{path}: {len(names)} shifts")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
