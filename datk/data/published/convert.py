"""Published .npy arrays into one HDF5 file, piece by piece: checked, with few bytes in memory."""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from datk.base.errors import DataError
from datk.data.published.progress import Progress
from datk.data.published.records import Record, RecordFile
from datk.data.readers import StoredArray, open_array

PIECE = 1 << 22
"""Bytes of a dataset that are converted at a time; all that is in memory is a few times that."""

CHUNK = 1 << 18
"""Bytes of an HDF5 chunk, about (3 images of 3 x 75 x 75); larger ones slow rows down, smaller ones runs."""

MARGIN = 1 << 23
"""Bytes that the file may need beyond the datasets: chunks filled up, their index, what the pair adds."""

TOLERANCE = 1e-2
"""Of mean and deviation, in units of the deviation. The published values were computed in float32 and perhaps
without the last image, which moves them by less than 1e-3. The closest arrays of one publication, pristine
and noisy images of the same galaxies, differ by 5e-2."""


@dataclass(frozen=True)
class Moments:
    """Of each channel over all images and pixels."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Arrays:
    """The opened .npy files of a record, by HDF5 dataset; only their headers have been read and checked."""

    record: Record
    stored: dict[str, StoredArray]

    @property
    def size(self) -> int:
        """Bytes of the converted datasets."""
        return sum(math.prod(array.shape) * _dtype(key).itemsize for key, array in self.stored.items())


def open_arrays(record: Record, folder: Path) -> Arrays:
    """The record's files in a folder. Raises `DataError` for one that is no array, or of the wrong form."""
    stored: dict[str, StoredArray] = {}
    for key, file in record.files.items():
        path = str(folder / file.name)
        array = stored[key] = open_array(path, path)
        wanted = "images [N, C, H, W]" if _is_images(key) else "labels [N]"
        if array.dtype.kind not in "fiub" or len(array.shape) != wanted.count(",") + 1 or 0 in array.shape:
            raise DataError(
                f"{path} holds {array.dtype} of shape {list(array.shape)}, not {wanted}; "
                "see that it is the published file"
            )
    for key, array in stored.items():
        images = stored[key.replace("/y", "/x")]
        if array.shape[0] != images.shape[0]:
            raise DataError(
                f"{array.name} has {array.shape[0]:,} rows and {images.name} {images.shape[0]:,}; "
                "see that both are of the same record"
            )
    return Arrays(record, stored)


def convert(arrays: Arrays, path: Path, compare: bool, progress: Progress) -> dict[str, dict[str, Any]]:
    """Write a new HDF5 file at `path`; returns shape and dtype of its datasets, of images also mean and std.

    Args:
        compare: whether mean and deviation have to agree with `RecordFile`.

    Raises:
        DataError: values that are not finite, labels that are no class numbers, other moments than
            published.
        OSError: it cannot be written.
    """
    progress.begin("converting", arrays.size)
    moments = {}
    with h5py.File(path, "w") as file:
        _reserve(path, arrays.size + MARGIN)
        for key, array in arrays.stored.items():
            dataset = _empty(file, key, array.shape)
            if _is_images(key):
                moments[key] = _copy_images(array, dataset, progress)
                if compare:
                    _compare(moments[key], arrays.record.files[key])
            else:
                _copy_labels(array, dataset, progress)
        if arrays.record.prepare is not None:
            progress.note(f"looking through the arrays of {arrays.record.name}, which may take minutes")
            arrays.record.prepare(file)
        described = _described(file, moments)
        file.flush()
        size = file.id.get_filesize()
    os.truncate(path, size)
    return described


def _reserve(path: Path, size: int) -> None:
    """Claim the space on disk, as HDF5 takes the process down when it cannot write what it still holds."""
    if hasattr(os, "posix_fallocate"):  # not on macOS and Windows
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)


def _is_images(key: str) -> bool:
    return key.endswith("/x")


def _dtype(key: str) -> np.dtype[Any]:
    return np.dtype(np.float32 if _is_images(key) else np.int64)


def _empty(file: h5py.File, key: str, shape: tuple[int, ...]) -> h5py.Dataset:
    rows = max(1, CHUNK // (math.prod(shape[1:]) * _dtype(key).itemsize))
    return file.create_dataset(key, shape, _dtype(key), chunks=(min(rows, shape[0]), *shape[1:]))


def _pieces(array: StoredArray, dataset: h5py.Dataset) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
    """Slices of whole chunks, and their values."""
    rows = max(1, PIECE // (dataset.nbytes // dataset.shape[0]) // dataset.chunks[0]) * dataset.chunks[0]
    for start in range(0, dataset.shape[0], rows):
        piece = slice(start, start + rows)
        # Opened anew, as the pages of a file that stays mapped would all count as memory of this process.
        yield piece, open_array(array.name, array.name)[piece]


def _copy_images(array: StoredArray, dataset: h5py.Dataset, progress: Progress) -> Moments:
    sums = np.zeros((2, array.shape[1]))
    for piece, values in _pieces(array, dataset):
        with np.errstate(over="ignore"):
            converted = values.astype(np.float32)
        if not np.isfinite(converted).all():
            row, *at = (int(i) for i in np.argwhere(~np.isfinite(converted))[0])
            raise DataError(
                f"{array.name} has {values[row, *at]} in row {piece.start + row}, channel {at[0]}, which "
                "is no finite float32; see that the file is whole"
            )
        dataset[piece] = converted
        exact = values.astype(np.float64, copy=False)
        sums += exact.sum((0, 2, 3)), np.einsum("nchw,nchw->c", exact, exact)
        progress.advance(converted.nbytes)
    mean, square = sums / (array.shape[0] * math.prod(array.shape[2:]))
    return Moments(tuple(mean.tolist()), tuple(np.sqrt(np.maximum(square - mean**2, 0)).tolist()))


def _copy_labels(array: StoredArray, dataset: h5py.Dataset, progress: Progress) -> None:
    for piece, values in _pieces(array, dataset):
        wrong = np.flatnonzero(~((values >= 0) & (values < 2**31) & (values % 1 == 0)))
        if len(wrong):
            raise DataError(
                f"{array.name} has the label {values[wrong[0]]} in row {piece.start + wrong[0]}, which is no "
                "class number 0, 1, ...; see that the file is whole"
            )
        dataset[piece] = values.astype(np.int64)
        progress.advance(8 * len(values))


def _compare(found: Moments, file: RecordFile) -> None:
    """Raise `DataError` where moments differ from the published ones."""
    if file.mean is None or file.std is None:
        return
    for channel, (mean, std) in enumerate(zip(file.mean, file.std, strict=True)):
        for name, value, expected in (
            ("mean", found.mean[channel], mean),
            ("standard deviation", found.std[channel], std),
        ):
            if not abs(value - expected) <= TOLERANCE * std:
                raise DataError(
                    f"{file.name}: the {name} of channel {channel} is {value:.6g}, and was published as "
                    f"{expected:.6g}; the file is not what the pair was written for"
                )


def _described(file: h5py.File, moments: Mapping[str, Moments]) -> dict[str, dict[str, Any]]:
    """Shape and dtype of every dataset, and the moments of images."""
    datasets: dict[str, dict[str, Any]] = {}

    def visit(key: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            datasets[key] = {"shape": list(item.shape), "dtype": str(item.dtype)}

    file.visititems(visit)
    for key, found in moments.items():
        datasets[key] |= {"mean": list(found.mean), "std": list(found.std)}
    return datasets
