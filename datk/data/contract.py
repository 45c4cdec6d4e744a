"""What a pair must give: types, shapes and numbers of all its attributes, and of its answers.

All that is used later is checked here, once, so that a mask of 0 and 1 cannot be taken for row numbers.
Values of samples are looked at by `datk.data.inspection`.
"""

from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from datk.base.errors import DataError
from datk.config.faults import component_name
from datk.data.readers.hdf5 import check_filters
from datk.data.readers.sources import check_sources
from datk.interfaces import DomainPair, PairInfo, Samples, Task

DOMAINS = ("source", "target")


def check_pair(pair: DomainPair) -> None:
    """Check all attributes of a pair but the labels, which `checked_labels` looks at.

    Raises:
        DataError: naming the pair, the attribute, what it is and what it has to be.
    """
    name = component_name("pair", type(pair))
    for attribute in ("source", "target", "source_labels"):
        if getattr(pair, attribute, None) is None:
            raise DataError(f"{name} has no {attribute}; set it in __init__")
    labels = pair.source_labels
    if not isinstance(labels, np.ndarray) or isinstance(labels, np.ma.MaskedArray):
        raise DataError(
            f"{name}: source_labels must be a NumPy array, not {_kind(labels)}; give numpy.asarray"
        )
    for domain in DOMAINS:
        samples = getattr(pair, domain)
        if not isinstance(samples, Samples):
            raise DataError(f"{name}: {domain} must be Samples, not {_kind(samples)}")
        _check_samples(name, domain, samples)
    source, target = tuple(pair.source.x.shape[1:]), tuple(pair.target.x.shape[1:])
    if source != target:
        raise DataError(_difference(source, target))
    for attribute in ("classes", "targets", "sources"):
        _check_names(name, attribute, getattr(pair, attribute))
    _check_texts(name, "notes", pair.notes)
    if not isinstance(pair.shared_groups, bool | np.bool_):
        raise DataError(f"{name}: shared_groups must be True or False, not {pair.shared_groups!r}")
    if pair.shared_groups and (pair.source.groups is None or pair.target.groups is None):
        raise DataError("groups can be shared only if both domains have groups; give both, or share none")
    _check_sources(name, pair)


def checked_labels(
    labels: Any, rows: int, task: Task, info: PairInfo, pair: DomainPair, domain: str = "source"
) -> npt.NDArray[Any]:
    """Labels [N] or [N, T] as an array that all else may rely on: int64, or floats, in this machine's order.

    Args:
        labels: the pair's `source_labels`, or what its `answers` gave if the domain is the target.
        rows: how many there must be, N.
        task: says what a label is.

    Raises:
        DataError: naming the domain, the pair, the attribute or the method, and what is wrong.
    """
    giver = "source_labels" if domain == "source" else "answers"
    where = f"{domain}: {component_name('pair', type(pair))} gives {giver}"
    array = _plain(labels, where)
    if array.ndim not in (1, 2) or len(array) != rows:
        what = "samples" if domain == "source" else "rows"
        raise DataError(
            f"{domain}: {rows} {what} but labels of shape {list(array.shape)}; each needs one label "
            f"({component_name('pair', type(pair))}, {giver})"
        )
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise DataError(f"{where} of {_type(array.dtype)}; give class numbers (int64) or numbers (float)")
    try:
        task.check(array, info)
    except DataError as error:
        raise DataError(f"{domain}: {error} ({component_name('pair', type(pair))}, {giver})") from None
    if array.dtype.kind in "biu":
        return array.astype(np.int64)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _check_samples(name: str, domain: str, samples: Samples) -> None:
    x = samples.x
    where = f"{name}: {domain}.x"
    if isinstance(x, np.ma.MaskedArray):
        raise DataError(f"{where} is a masked array, whose mask would be lost; give x.filled(...)")
    if not all(hasattr(x, part) for part in ("shape", "dtype", "__getitem__")) or not isinstance(
        x.dtype, np.dtype
    ):
        raise DataError(f"{where} must be an array as NumPy's, not {_kind(x)}; give numpy.asarray(x)")
    shape = tuple(x.shape)
    if len(shape) not in (2, 4):
        raise DataError(
            f"{domain}: samples must be [N, C, H, W] or [N, F], not of shape {list(shape)} "
            f"({name}, {domain}.x)"
        )
    if 0 in shape:
        raise DataError(f"{domain}: there are no samples, the shape is {list(shape)} ({name}, {domain}.x)")
    if x.dtype.kind not in "biuf":
        raise DataError(f"{where} holds {_type(x.dtype)}; give real numbers: integers, floats or booleans")
    if isinstance(x, h5py.Dataset):  # what is missing of it would be read as zeros
        check_filters(x, where)
        check_sources(x, where)
    for rows in (slice(0, 1), np.array([shape[0] - 1])):
        _check_rows(where, x[rows], (1, *shape[1:]), x.dtype)
    if not isinstance(samples.in_memory, bool | np.bool_):
        raise DataError(f"{name}: {domain}.in_memory must be True or False, not {samples.in_memory!r}")
    for what, array in (("groups", samples.groups), ("test", samples.test), ("domain", samples.domain)):
        if array is None:
            continue
        where = f"{name}: {domain}.{what}"
        if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
            raise DataError(f"{where} must be a NumPy array, not {_kind(array)}; give numpy.asarray({what})")
        if array.shape != (shape[0],):
            raise DataError(f"{domain}: {shape[0]} samples but {what} of shape {list(array.shape)} ({name})")
        if what == "test":
            _check_mask(where, array)
        else:
            _check_whole(where, what, array)


def _check_rows(where: str, read: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Rows that were read are what the array says of itself, or they would be narrowed without a word."""
    if not isinstance(read, np.ndarray):
        raise DataError(f"{where}[rows] gives {_kind(read)}, not a NumPy array")
    if read.shape != shape:
        raise DataError(f"{where}[rows] gives shape {list(read.shape)} for one row, not {list(shape)}")
    if read.dtype.newbyteorder("=") != dtype.newbyteorder("="):
        raise DataError(f"{where} says that it holds {_type(dtype)}, but its rows are {_type(read.dtype)}")


def _check_mask(where: str, mask: npt.NDArray[Any]) -> None:
    if mask.dtype == np.bool_:
        return
    advice = "give test.astype(bool)" if _zeros_and_ones(mask) else "give True for each test row, else False"
    raise DataError(f"{where} must be booleans, one for each row, not {_type(mask.dtype)}; {advice}")


def _zeros_and_ones(mask: npt.NDArray[Any]) -> bool:
    return mask.dtype.kind in "iuf" and bool(np.isin(mask, (0, 1)).all())


def _check_whole(where: str, what: str, numbers: npt.NDArray[Any]) -> None:
    """Any whole numbers that int64 holds, negative ones too: they are compared, not counted with."""
    if numbers.dtype.kind == "i" or (numbers.dtype.kind == "u" and numbers.dtype.itemsize < 8):
        return
    held = numbers.dtype.kind in "uf" and bool(
        (np.isfinite(numbers) & (numbers == np.floor(numbers)) & (np.abs(numbers) < 2**63)).all()
    )
    advice = (
        f"give {what}.astype(numpy.int64)"
        if held
        else f"number them, for instance by numpy.unique({what}, return_inverse=True)[1]"
    )
    raise DataError(f"{where} must be whole numbers (int64), not {_type(numbers.dtype)}; {advice}")


def _check_names(name: str, attribute: str, names: Any) -> None:
    _check_texts(name, attribute, names)
    for text in names:
        if not text.strip():
            raise DataError(f"{name}: {attribute} holds an empty name: {_listed(names)}; name each of them")
        if list(names).count(text) > 1:
            raise DataError(
                f"{name}: {attribute} names {text!r} twice: {_listed(names)}; give each its own name"
            )


def _check_texts(name: str, attribute: str, texts: Any) -> None:
    if isinstance(texts, str) or not isinstance(texts, Sequence | np.ndarray):
        raise DataError(f"{name}: {attribute} must be a tuple of strings, not {_kind(texts)}")
    for text in texts:
        if not isinstance(text, str):
            raise DataError(
                f"{name}: {attribute} must be strings, not {_kind(text)} ({text!r}); "
                f"give tuple(map(str, {attribute}))"
            )


def _check_sources(name: str, pair: DomainPair) -> None:
    """Several sources: every row is of one of them, and each has rows."""
    numbers, names = pair.source.domain, pair.sources
    if pair.target.domain is not None:
        raise DataError("the target is one domain; only the source's rows can be of several")
    if not names:
        raise DataError(f"{name}: sources is empty; name the source, or each of several")
    if numbers is None:
        if len(names) > 1:
            raise DataError(f"source: {len(names)} sources are named, but no row says which it is from")
        return
    if not np.array_equal(np.unique(numbers), np.arange(len(names))):
        raise DataError(
            f"source: domain must hold each of the whole numbers 0..{len(names) - 1}, those of the "
            f"{len(names)} sources ({name}, source.domain)"
        )


def _difference(source: tuple[int, ...], target: tuple[int, ...]) -> str:
    if len(source) == len(target) == 3 and source[1:] == target[1:]:
        return f"the source has {source[0]} channels, the target {target[0]}; give both the same channels"
    return f"samples differ in shape: source {list(source)}, target {list(target)}; bring both to one shape"


def _plain(values: Any, where: str) -> npt.NDArray[Any]:
    """Labels as a NumPy array, which they may not be yet."""
    if isinstance(values, np.ma.MaskedArray):
        raise DataError(f"{where} as a masked array, whose mask would be lost; give labels.filled(...)")
    try:
        return np.asarray(values)
    except Exception as error:  # a tensor on a GPU, rows of different lengths
        reason = " ".join(str(error).split())
        raise DataError(
            f"{where} as {_kind(values)}, which is no array ({reason}); give a NumPy array"
        ) from None


def _kind(value: Any) -> str:
    return type(value).__name__


def _type(dtype: np.dtype[Any]) -> str:
    known = {"O": "Python objects", "U": "strings", "S": "bytes", "c": "complex numbers", "V": "records"}
    what = known.get(dtype.kind)
    return f"{what} ({dtype})" if what else str(dtype)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:10])) + (f", ... ({len(names)} in all)" if len(names) > 10 else "")
