"""The domain pair `arrays`: the user's own data, without writing code."""

from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, Field

from datk.data.readers import StoredArray, open_array
from datk.interfaces import Array, ComponentConfig, ConfigError, DataError, DomainPair, Samples
from datk_arrays.columns import check_columns, one_kind, plain_column
from datk_arrays.labels import (
    Column,
    class_numbers,
    clean_answers,
    clean_column,
    flags,
    group_numbers,
    other_classes,
    source_numbers,
    without_numbers,
)
from datk_arrays.layout import ChannelsFirst, Layout, channels_first, find_layout
from datk_arrays.memory import InMemory, key_or_array
from datk_arrays.numbers import Numbers, clean_numbers, target_names

IS_REGRESSION = "; to predict numbers, set task=regression"


Key = Annotated[str | InMemory | None, BeforeValidator(key_or_array)]
"""The key of an array in a file, or in Python the array itself."""


class ArraysConfig(ComponentConfig):
    """Where the arrays are. A key that ends in .npy is the path of a file of its own. In Python the arrays
    themselves may stand in place of keys."""

    source: str | None = None
    """File of the source domain: .npz or HDF5 (.h5, .hdf5, .hdf, .he5, .mat, .nc, .h5ad). Not needed if its
    arrays are .npy files."""

    target: str | None = None
    """File of the target domain; it may be the same."""

    source_x: Key = None
    """Key of the source samples: (N, C, H, W), (N, H, W, C), (N, H, W) or (N, F)."""

    source_y: Key = None
    """Key of the source labels. Classes: integers, booleans, whole floats or strings, (N,) or (N, 1), or
    one-hot columns (N, K). With task=regression: integers or floats, (N,), or (N, T) for several numbers a
    row."""

    target_x: Key = None
    """Key of the target samples."""

    target_y: Key = None
    """Key of the target labels, with which the target is scored; never shown to training. None if unknown.
    Where some are unknown those rows have -1, NaN, None or an empty string: the labelled rows are scored, but
    for those of a class that the source does not have. Numbers may have any values."""

    source_group: Key = None
    """Key of the ids, numbers or strings, of the objects that the source rows show; rows of one object stay
    in one split."""

    target_group: Key = None
    """Key of the ids of the target rows."""

    shared_groups: bool = False
    """Whether equal ids in the two domains mean the same object."""

    source_domain: Key = None
    """Key of numbers or strings that say which of several sources each row is from, for instance the
    telescope or the simulation. Each source is standardised by itself and has metrics of its own; training is
    on the rows of all together."""

    source_test: Key = None
    """Key of booleans (or 0 and 1) that are true for the rows of a fixed test split of the source."""

    target_test: Key = None
    """Key of the fixed test split of the target."""

    classes: tuple[str, ...] | None = None
    """Names of the classes in the order of the sorted labels; for string labels, the labels in the order
    that the classes are to have. With two classes the second is the positive one."""

    targets: tuple[str, ...] | None = None
    """With task=regression: names of the numbers of a row, in the order of the columns of source_y;
    `target 0`, `target 1`, ... if not given."""

    task: Literal["classification", "regression"] = "classification"
    """Whether labels are classes or numbers. The run fills this in; `--set task=regression` sets the task of
    the run."""

    layout: Layout = "auto"
    """Order of the axes of both x. "auto" takes the second or the last of four axes for the channels if it is
    shorter than the other two and at most 16."""

    crop: int | None = Field(None, ge=1)
    """Height and width in pixels to which images are cut about their middle; whole images if not given."""


class Arrays(DomainPair):
    """Your own arrays from .npz, .npy or HDF5 files.

    Images may have their channels first or last, or no axis of channels. An .npz file is read into memory,
    .npy and HDF5 files are read row by row and may be larger than it. No file is ever written to. In a
    configuration file:

        [pair]
        name = "arrays"
        source = "surveys.npz"
        source_x = "x_first"
        source_y = "y_first"
        target = "surveys.npz"
        target_x = "x_nvss"
        target_y = "y_nvss"

    or, with a file for each array and a target without labels:

        [pair]
        name = "arrays"
        source_x = "simulated_images.npy"
        source_y = "simulated_labels.npy"
        target_x = "observed_images.npy"

    or, in Python, with arrays of NumPy, PyTorch or pandas themselves, of which config.json keeps shape, type
    and checksum:

        datk.run(pair={"name": "arrays", "source_x": x, "source_y": y, "target_x": t})

    Labels are classes, or with task=regression numbers, one or several a row.
    """

    Config = ArraysConfig

    def __init__(self, config: ArraysConfig) -> None:
        source, target = _read_domain(config, "source"), _read_domain(config, "target")
        self._answers: npt.NDArray[Any] | None
        if config.task == "regression":
            self._read_numbers(config, source.stored, target.stored)
        else:
            self._read_classes(config, source.stored, target.stored)
        self.shared_groups = config.shared_groups
        source_groups, target_groups = group_numbers(source.groups, target.groups, config.shared_groups)
        domain = None
        if (column := _column(config, "source", "domain", source.stored)) is not None:
            self.sources, domain = source_numbers(column)
        self.source = Samples(source.x, source_groups, source.test, source.stored.in_memory, domain)
        self.target = Samples(target.x, target_groups, target.test, target.stored.in_memory)

    def _read_classes(self, config: ArraysConfig, source: StoredArray, target: StoredArray) -> None:
        if config.targets is not None:
            raise ConfigError("pair.targets names the numbers of a regression; set task=regression")
        labels = _column(config, "source", "y", source)
        if labels is None:
            raise _missing("source_y")
        answers = _column(config, "target", "y", target)
        if answers is not None:
            check_columns(labels, answers)
        self.classes, self.source_labels, self._answers = class_numbers(labels, answers, config.classes)
        self.notes = labels.notes
        if answers is not None and self._answers is not None:
            self.notes += (*answers.notes, *other_classes(answers, self._answers))

    def _read_numbers(self, config: ArraysConfig, source: StoredArray, target: StoredArray) -> None:
        if config.classes is not None:
            raise ConfigError(
                "pair.classes names classes, and task=regression predicts numbers, which pair.targets names; "
                "leave out one of the two"
            )
        labels, answers = _numbers(config, "source", source), _numbers(config, "target", target)
        if labels is None:
            raise _missing("source_y")
        self.targets = target_names(labels, answers, config.targets)
        self.source_labels = labels.values
        self._answers = None if answers is None else answers.values
        self.notes = labels.notes + (() if answers is None else answers.notes)

    def answers(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any] | None:
        """Class numbers, or with task=regression numbers, of the given target rows, -1, -2 or NaN where none
        is known (see `DomainPair`); None without `target_y`."""
        return None if self._answers is None else self._answers[rows]


class _Domain(NamedTuple):
    stored: StoredArray
    x: Array
    groups: Column | None
    test: npt.NDArray[np.bool_] | None


def _read_domain(config: ArraysConfig, domain: str) -> _Domain:
    stored = _open(config, domain, "x")
    if stored is None:
        raise _missing(f"{domain}_x")
    x = _samples(stored, config.layout, config.crop)
    test = _column(config, domain, "test", stored)
    return _Domain(
        stored=stored,
        x=x,
        groups=_column(config, domain, "group", stored),
        test=None if test is None else flags(test),
    )


def _open(config: ArraysConfig, domain: str, role: str) -> StoredArray | None:
    key: str | InMemory | None = getattr(config, f"{domain}_{role}")
    if key is None or key == "":
        return None
    if isinstance(key, InMemory):
        return StoredArray(key.values(f"{domain}_{role}"), f"{domain}_{role}")
    if key.lower().endswith(".npy"):
        return open_array(key, key)
    file: str | None = getattr(config, domain)
    if not file:
        raise ConfigError(f"pair.{domain} is not set; give the file that holds {key!r}")
    return open_array(file, key)


def _samples(stored: StoredArray, layout: Layout, crop: int | None) -> Array:
    if 0 in stored.shape:
        raise DataError(f"{stored.name} is empty: its shape is {stored.shape}")
    if stored.dtype.kind not in "biuf" or stored.dtype.itemsize > 8:
        raise DataError(
            f"{stored.name} holds {stored.dtype}; give booleans, integers or floats up to 64 bits"
        )
    layout = find_layout(stored.shape, layout, stored.name)
    if crop is not None:
        if layout == "features":
            raise ConfigError(f"pair.crop needs images; {stored.name} holds feature vectors")
        size = ChannelsFirst(stored, layout).shape[2:]
        if crop > min(size):
            raise ConfigError(f"pair.crop={crop} is larger than the images of {stored.name}: {list(size)}")
    return (
        channels_first(stored[:], layout, crop) if stored.in_memory else ChannelsFirst(stored, layout, crop)
    )


def _column(config: ArraysConfig, domain: str, role: str, samples: StoredArray) -> Column | None:
    """One value for each row, of labels, groups, sources or flags."""
    stored = _open(config, domain, role)
    if stored is None:
        return None
    advice = IS_REGRESSION if role == "y" else ""
    if len(stored.shape) not in (1, 2):
        raise DataError(f"{stored.name} has shape {stored.shape}; give one value for each row")
    _check_rows(samples, stored)
    rows, answers = samples.shape[0], (domain, role) == ("target", "y")
    values = without_numbers(stored.values()) if answers else stored.values()
    plain = plain_column(values, stored.name, rows, one_hot=role == "y", advice=advice)
    clean = clean_answers if answers else clean_column
    notes = (*stored.notes, *plain.notes)
    return clean(plain.values, stored.name, advice)._replace(notes=notes, columns=plain.columns)


def _numbers(config: ArraysConfig, domain: str, samples: StoredArray) -> Numbers | None:
    """Labels of a regression."""
    stored = _open(config, domain, "y")
    if stored is None:
        return None
    if len(stored.shape) not in (1, 2) or 0 in stored.shape:
        raise DataError(
            f"{stored.name} has shape {stored.shape}; give one number for each row (N,), or several (N, T)"
        )
    _check_rows(samples, stored)
    values, _ = one_kind(stored.values(), stored.name)
    if values.shape == (1, samples.shape[0]):  # a row of MATLAB's
        values = values.reshape(-1)
    return clean_numbers(values, stored.name, may_lack=domain == "target")._replace(notes=tuple(stored.notes))


def _check_rows(samples: StoredArray, column: StoredArray) -> None:
    if samples.shape[0] in (column.shape[0], *(column.shape[1:] if column.shape[0] == 1 else ())):
        return
    last = column.shape[0] == samples.shape[-1] and len(samples.shape) > 2
    raise DataError(
        f"{samples.name} has {samples.shape[0]} rows, but {column.name} has {column.shape[0]}"
        + (f"; if the last axis of {samples.shape} counts the rows, make it the first" if last else "")
    )


def _missing(option: str) -> ConfigError:
    return ConfigError(f"pair.{option} is not set; give a key of the file, or the path of a .npy file")
