"""Which axis holds the channels, and images with that axis put first."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from datk.data.readers import StoredArray
from datk.interfaces import DataError

Layout = Literal["auto", "nchw", "nhwc", "features"]

MOST_CHANNELS = 16


def find_layout(shape: tuple[int, ...], layout: Layout, name: str) -> Layout:
    """The layout of an array, never "auto".

    An array of two axes holds features, one of three axes images of a single channel. Of four axes the second
    or the last holds the channels if it is shorter than the two others and not longer than `MOST_CHANNELS`.
    Raises `DataError` if that fits neither, or if the asked layout does not fit the number of axes.
    """
    known: dict[int, tuple[Layout, ...]] = {2: ("features",), 3: ("nchw", "nhwc"), 4: ("nchw", "nhwc")}
    possible = known.get(len(shape))
    if possible is None:
        raise DataError(f"{name} has shape {shape}; give (N, C, H, W), (N, H, W, C), (N, H, W) or (N, F)")
    if layout != "auto":
        if layout not in possible:
            raise DataError(f"{name} has shape {shape}; set pair.layout to {' or '.join(possible)}")
        return layout
    if len(shape) < 4:
        return possible[0]
    _, first, middle, last = shape
    if first < min(middle, last) and first <= MOST_CHANNELS:
        return "nchw"
    if last < min(first, middle) and last <= MOST_CHANNELS:
        return "nhwc"
    raise DataError(
        f"{name} has shape {shape}, where no axis is clearly channels; set pair.layout to nchw or nhwc"
    )


def channels_first(x: npt.NDArray[Any], layout: Layout, crop: int | None = None) -> npt.NDArray[Any]:
    """A view [N, C, H, W] of images, with an axis of one channel added to [N, H, W]; features as they are.

    crop: height and width that are kept about the middle; all if None.
    """
    if x.ndim == 3:
        x = x[:, None]
    elif layout == "nhwc":
        x = np.moveaxis(x, -1, 1)
    if crop is None:
        return x
    top, left = (x.shape[2] - crop) // 2, (x.shape[3] - crop) // 2
    return x[:, :, top : top + crop, left : left + crop]


class ChannelsFirst:
    """Rows on disk as [N, C, H, W] or [N, F]; each read rearranges what it has read."""

    def __init__(self, stored: StoredArray, layout: Layout, crop: int | None = None) -> None:
        self._stored = stored
        self._layout: Layout = layout
        self._crop = crop
        self.dtype = stored.dtype
        self.shape = self._arranged(np.broadcast_to(np.empty((), stored.dtype), stored.shape)).shape

    @property
    def notes(self) -> list[str]:
        """What a reader must know of how the array was read."""
        return self._stored.notes

    def whole_rows(self) -> "ChannelsFirst":
        """The same rows, ready to be read at random."""
        self._stored.whole_rows()
        return self

    def _arranged(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return channels_first(x, self._layout, self._crop)

    def __getitem__(self, rows: slice | npt.NDArray[np.integer]) -> npt.NDArray[Any]:
        """Rows of a slice or of a strictly increasing integer array; raises `DataError` if that fails."""
        return self._arranged(self._stored[rows])
