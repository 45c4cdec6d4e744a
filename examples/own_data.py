"""Adapt a classifier to one's own images from Python: two small files are made here in place of real ones."""

from pathlib import Path

import numpy as np

import datk


def make_images(n: int, brightness: float, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Discs (0) and rings (1), [n, 24, 24] uint8, as two instruments might see them."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    rows, columns = np.mgrid[:24, :24] - 11.5
    radius = np.hypot(rows, columns)[None]
    size = rng.uniform(5, 9, (n, 1, 1))
    shape = np.where(y[:, None, None] == 1, np.abs(radius - size) < 2, radius < size)
    images = brightness * shape + rng.normal(20, noise, shape.shape)
    return images.clip(0, 255).astype(np.uint8), y


def main(folder: Path, epochs: int = 4) -> datk.RunResult:
    """Write the two surveys to `folder`, train with MMD, and return the result."""
    folder.mkdir(parents=True, exist_ok=True)
    x, y = make_images(400, brightness=150, noise=5, seed=0)
    np.savez(folder / "bright.npz", x=x, label=y)
    x, y = make_images(400, brightness=70, noise=25, seed=1)
    np.savez(folder / "faint.npz", x=x, label=y)
    return datk.run(
        backbone="deepmerge",
        align="mmd",
        pair={
            "name": "arrays",
            "source": str(folder / "bright.npz"),
            "source_x": "x",
            "source_y": "label",
            "target": str(folder / "faint.npz"),
            "target_x": "x",
            "target_y": "label",  # only used to score the result; leave it out if there are no labels
        },
        epochs=epochs,
        out=folder / "run",
        force=True,
    )


if __name__ == "__main__":
    result = main(Path("own-data-example"))
    print(f"accuracy on the faint survey: {result.metrics['target']['test']['accuracy']:.3f}")
    print(f"everything about the run: {result.folder}")
