"""The backbone that goes by the samples."""

from typing import NoReturn

from datk.interfaces import Backbone, ComponentConfig, PairInfo
from datk_deepmerge.cnn import MINIMUM_SIZE

LARGEST_SIDE = 128
"""Pixels up to which DeepMerge is taken: its features are flattened images, 8192 for 128 x 128 pixels."""


class Auto(Backbone):
    """Chooses by the samples: mlp for vectors, deepmerge for images of 16 to 128 pixels, resnet18 for larger.

    Images with a side below 16 pixels go to the mlp, too. The chosen backbone has its default options; to
    change them, name it.
    """

    class Config(ComponentConfig):
        """It has no options."""

    @classmethod
    def stands_for(cls, pair: PairInfo) -> str:
        """Name of the chosen one."""
        if len(pair.shape) == 1 or min(pair.shape[1:]) < MINIMUM_SIZE:
            return "datk:mlp"
        return "datk:deepmerge" if max(pair.shape[1:]) <= LARGEST_SIDE else "datk:resnet18"

    def __init__(self, config: Config, pair: PairInfo) -> None:
        super().__init__(config, pair)
        raise TypeError(f"{self.stands_for(pair)} is built in its place")

    def embed(self, x: object) -> NoReturn:
        """It has no layers of its own."""
        raise NotImplementedError
