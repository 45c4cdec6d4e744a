"""A copy of rows that lie in pieces, one whole row behind the other, for as long as it is needed.

The copy has no name in the file system: it is gone when the program ends, however that ends.
"""

import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from datk.data.published.records import data_folder, size_text
from datk.data.readers.banded import BandedRows
from datk.data.readers.placed import PlacedRows

SHARE = 0.5
"""How much of what is free on a disk a copy may take."""


class NoRoomError(Exception):
    """There is no disk that a copy may be put on."""


def copied_rows(banded: BandedRows) -> tuple[PlacedRows, str]:
    """The copy and the folder on whose disk it is. Raises `NoRoomError`."""
    size = math.prod(banded.shape) * banded.dtype.itemsize
    folder = _folder_for(size)
    file = tempfile.TemporaryFile(dir=folder, prefix="datk-rows-")  # noqa: SIM115  # the rows keep it open
    try:
        with _writing(folder):
            # Asked for before it is written: a disk that is full ends a write into a map by a signal.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
        if banded.fits:
            for band in banded.bands():
                with _writing(folder):
                    file.write(np.ascontiguousarray(band).data)
            with _writing(folder):
                file.flush()
        else:
            whole = np.memmap(file, banded.dtype, "r+", shape=banded.shape)
            for where, block in banded.blocks():
                whole[where] = block
            whole.flush()
            del whole
    except BaseException:
        file.close()
        raise
    rows = PlacedRows(
        file.fileno(), banded.shape, banded.dtype, np.array([0]), max(1, banded.shape[0]), keep=file
    )
    return rows, str(folder)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Tell failures to write from those to read."""
    try:
        yield
    except OSError as error:
        raise NoRoomError(f"a copy in {folder} failed ({' '.join(str(error).split())})") from None


def _folder_for(size: int) -> Path:
    """The data folder, or the system's folder for temporary files: the first with room enough."""
    told = []
    for folder in (data_folder(), Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(folder).free
        except OSError as error:
            told.append(f"{folder} cannot be used ({error.strerror})")
            continue
        if size <= SHARE * free and os.access(folder, os.W_OK):
            return folder
        told.append(f"{folder} has {size_text(free)} free")
    raise NoRoomError(f"a copy takes {size_text(size)}, and {', '.join(told)}")
