"""What the selected network says of the rows of a run: outputs.npz, from which runs are compared and combined
without training them again."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from datk.base.errors import RunError
from datk.base.files import write_atomically
from datk.data.splits import RowNumbers

NAME = "outputs.npz"

PARTS = (("source", "validation"), ("source", "test"), ("target", "train"), ("target", "test"))
"""What is kept; labels are not kept for target rows that are trained on."""


class PartOutputs(NamedTuple):
    """Outputs for the rows of a part of a domain, of the target's test rows for those that are scored."""

    rows: RowNumbers
    """Numbers in the domain's file [n]."""
    logits: npt.NDArray[np.float32]
    """[n, K]."""
    labels: npt.NDArray[Any] | None
    """As the pair gives them, [n] or [n, T]; None where none are kept."""
    groups: RowNumbers
    """Number of the object that each row shows [n]."""


Parts = Mapping[tuple[str, str], PartOutputs]


def write(folder: Path, parts: Parts) -> None:
    """Write outputs.npz of a run folder. Raises `RunError` if that cannot be."""
    arrays = {
        f"{domain}_{part}_{field}": value
        for (domain, part), outputs in parts.items()
        for field, value in outputs._asdict().items()
        if value is not None
    }
    write_atomically(folder / NAME, lambda file: np.savez_compressed(file, **arrays))


def read(folder: Path) -> dict[tuple[str, str], PartOutputs]:
    """What `write` wrote. Raises `RunError` for a run without outputs, as those of earlier versions are."""
    path = folder / NAME
    if not path.is_file():
        raise RunError(f"{path} is not there: the run is not complete, or an earlier version made it")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {
                (domain, part): PartOutputs(
                    arrays[f"{domain}_{part}_rows"],
                    arrays[f"{domain}_{part}_logits"],
                    arrays.get(f"{domain}_{part}_labels"),
                    arrays[f"{domain}_{part}_groups"],
                )
                for domain, part in PARTS
                if f"{domain}_{part}_rows" in arrays
            }
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"{path} is damaged: {error}; run again with --force") from None
