"""Groups of DeepMerge II's rows, found once when a record is converted, and stored with it.

The HDF5 file gets source/group and target/group, [N] int64, and the attributes `groups_from`, a sentence, and
`shared_groups`, whether equal numbers in the two domains mean the same galaxy.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from datk.data.duplicates import group_duplicates
from datk.data.readers import StoredArray
from datk.interfaces import DataError
from datk_galaxies.row_structure import fault_in_order, galaxies_of_rows, rows_correspond

__all__ = ["group_simreal", "group_simsim"]

DOMAINS = "source", "target"


def group_simsim(file: Any) -> None:
    """Group the simulated pair in an open `h5py.File` with x and y of both domains.

    Groups are galaxies if the rows are in the published order. If they are not, they are sets of near
    duplicates, which leave the cameras of a galaxy apart. The domains share their groups where their rows
    correspond; the target is in order only if they do, because its labels are not looked at.

    Raises:
        DataError: labels of the source other than 0 and 1.
    """
    x = {domain: _images(file, domain) for domain in DOMAINS}
    y = _source_labels(file)
    shared = rows_correspond(x["source"], x["target"])
    faults = {"source": fault_in_order(x["source"], y), "target": "its rows are not those of the source"}
    if shared:
        faults["target"] = fault_in_order(x["target"], y)
    verified = [domain for domain in DOMAINS if faults[domain] is None]
    groups, ways = {}, {}
    for domain in DOMAINS:
        if faults[domain] is None or (shared and verified):
            mergers = int(y.sum())
            groups[domain] = galaxies_of_rows(mergers, len(y) - mergers)
            ways[domain] = (
                "galaxies, by the published order of the rows; flipped and turned copies were verified on "
                f"the arrays of {' and '.join(verified)}, while the cameras of a galaxy are told by this "
                "order and the likeness of their light only"
            )
        elif shared and domain == "target":
            groups[domain] = groups["source"]
        else:
            groups[domain] = group_duplicates(x[domain])
            ways[domain] = (
                f"{_count(groups[domain])} sets of near duplicates, by a search to which the cameras of a "
                f"galaxy are different objects, because {faults[domain]}"
            )
    _store(file, groups, ways, shared)


def group_simreal(file: Any) -> None:
    """Group the simulated-to-real pair, likewise: by near duplicates, turned by any angle, in each domain."""
    groups, ways = {}, {}
    for domain in DOMAINS:
        groups[domain] = group_duplicates(_images(file, domain), rotations="any")
        ways[domain] = (
            f"{_count(groups[domain])} sets of near duplicates, by a search that may have missed some and "
            "joined unlike ones"
        )
    _store(file, groups, ways, shared=False)


def _images(file: Any, domain: str) -> StoredArray:
    return StoredArray(file[f"{domain}/x"], f"{domain}/x")


def _source_labels(file: Any) -> npt.NDArray[np.int64]:
    labels: npt.NDArray[np.int64] = file["source/y"][:]
    wrong = np.flatnonzero((labels != 0) & (labels != 1))
    if len(wrong):
        raise DataError(
            f"source/y has the label {labels[wrong[0]]} in row {wrong[0]}, and galaxies are 0 or, if they "
            "merge, 1; see that the file is the published one"
        )
    return labels


def _count(groups: npt.NDArray[np.int64]) -> str:
    return f"{len(np.unique(groups)):,}"


def _store(file: Any, groups: dict[str, npt.NDArray[np.int64]], ways: dict[str, str], shared: bool) -> None:
    for domain in DOMAINS:
        file[f"{domain}/group"] = groups[domain]
    if shared:
        sentence = f"groups, shared by both domains, whose rows correspond: {ways['source']}"
    else:
        sentence = f"groups of the source: {ways['source']}; of the target: {ways['target']}"
    file.attrs["groups_from"] = sentence
    file.attrs["shared_groups"] = shared
