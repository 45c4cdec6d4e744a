"""What the image backbones ask of the data."""

from datk.interfaces import DataError, PairInfo


def image_shape(pair: PairInfo, backbone: str, minimum: int) -> tuple[int, int, int]:
    """Channels, height and width of the pair's images, in pixels.

    Raises `DataError` for feature vectors and for images smaller than `minimum` pixels on a side.
    """
    match pair.shape:
        case (channels, height, width) if min(height, width) >= minimum:
            return channels, height, width
        case (_, height, width):
            size = f"images of {height} x {width} pixels"
        case (length,):
            size = f"feature vectors of length {length}"
        case _:
            size = f"samples of shape {pair.shape}"
    raise DataError(
        f"backbone {backbone} takes images of at least {minimum} x {minimum} pixels, not {size}; "
        "the backbone mlp takes any shape"
    )
