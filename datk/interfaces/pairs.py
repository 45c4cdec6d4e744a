"""Domain pairs: two sets of samples, and published files that they are made of."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from datk.base.options import ComponentConfig

UNLABELLED = -1
"""What `DomainPair.answers` says of a row whose class nobody knows."""

OTHER_CLASS = -2
"""What `DomainPair.answers` says of a row of a class that the source does not have."""


class Array(Protocol):
    """Rows that can be read a few at a time: a NumPy array, a memory map, an HDF5 dataset."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, ...]."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of an element."""

    def __getitem__(self, rows: Any, /) -> Any:
        """Rows of a slice or of a strictly increasing integer array, as a NumPy array."""


@dataclass(frozen=True)
class Samples:
    """The samples of one domain, without labels."""

    x: Array
    """[N, C, H, W] or [N, F], any real dtype, that of the rows that are read; read, never written. If it has
    `notes`, a list of strings, the run tells them."""
    groups: npt.NDArray[np.int64] | None = None
    """[N] number of the object a row shows, any whole number; rows of one object stay in one split."""
    test: npt.NDArray[np.bool_] | None = None
    """[N] true for the rows of a fixed test split; booleans, not numbers."""
    in_memory: bool = field(default=True)
    """False for rows on disk: they are copied to the device only if they fit, and streamed otherwise."""
    domain: npt.NDArray[np.int64] | None = None
    """[N] which of several sources a row is from, 0 to S-1; the target is a domain of its own and has
    none."""


@dataclass(frozen=True)
class RecordFile:
    """One published .npy array."""

    name: str
    """File name in the record."""
    size: int
    """Bytes."""
    mean: tuple[float, ...] | None = None
    """Of each channel over the whole array, as published elsewhere; a check of the content."""
    std: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Record:
    """Published files that a pair is made of, and what to do with them."""

    name: str
    """Of the pair: the folder under `data_folder()`."""
    publication: str
    """Short name of the publication, which several pairs may share; `datk data mock` takes it."""
    title: str
    """What the files are, in one line."""
    url: str
    """Entry of the record in the API of its archive (Zenodo's)."""
    reference: str
    """Paper and DOI."""
    files: Mapping[str, RecordFile]
    """Published file of each HDF5 dataset: images source/x and target/x, labels source/y and target/y."""
    prepare: Callable[[Any], None] | None = None
    """Called with the open `h5py.File` after its datasets were written, for instance to add source/group."""
    mock: Callable[[Path, float, int], None] | None = None
    """Writes a miniature of the whole publication into a folder: (folder, scale, seed)."""

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum({file.name: file.size for file in self.files.values()}.values())


class DomainPair(ABC):
    """Two sets of samples of the same kind: a labelled source, or several of them in one set, and a target.

    All attributes are checked before they are used, see `datk.data.contract`: arrays are NumPy's, of the
    types below, names are strings that differ.

    A subclass reads or makes its data in `__init__(self, config)` and sets the attributes below. A pair that
    can read labels as classes or as numbers has an option `task` in its `Config`, which a run fills in:
    "classification" or "regression".
    """

    Config: ClassVar[type[ComponentConfig]] = ComponentConfig

    classes: tuple[str, ...] = ()
    """Names of the classes in the order of their numbers; with two classes the second is the positive one,
    unless the option `pair.positive`, which every pair has, names the first. Empty if the labels are
    numbers."""
    targets: tuple[str, ...] = ()
    """Names of the numbers that the labels are; needed if there are several."""
    sources: tuple[str, ...] = ("source",)
    """Names of the sources, in the order of the numbers in `source.domain`."""
    source: Samples
    target: Samples
    source_labels: npt.NDArray[Any]
    """[N] class number of each source row, int64; or numbers, [N] or [N, T], float."""
    shared_groups: bool = False
    """True if equal group numbers in the two domains mean the same object."""
    record: ClassVar[Record | None] = None
    """Published data that the pair needs, which `datk data fetch` brings."""
    notes: tuple[str, ...] = ()
    """What everybody who reads a result must know, for instance that the data are synthetic."""

    @abstractmethod
    def __init__(self, config: Any) -> None:
        """Read or make the data; raise `DataError` if that fails."""

    @abstractmethod
    def answers(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any] | None:
        """Labels of the given target rows, of the kind of the source's; None if none is known. Only
        `datk.runs.evaluate` calls this.

        The label of some rows may be unknown: for classes -1 (`UNLABELLED`), or -2 (`OTHER_CLASS`) if it is
        known to be a class that the source does not have; for numbers NaN. Such rows are not scored, and the
        result says how many there are.
        """
