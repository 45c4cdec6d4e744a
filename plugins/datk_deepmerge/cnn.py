"""The convolutional network of DeepMerge II."""

from torch import Tensor, nn

from datk.interfaces import Backbone, PairInfo
from datk.nn import by_domain, mlp
from datk_deepmerge.batch_norm import BatchNormConfig, told_domains
from datk_deepmerge.shapes import image_shape

MINIMUM_SIZE = 16
FILTERS = (8, 16, 32)
HIDDEN = (64, 32)


def _block(channels_in: int, channels_out: int, kernel: int) -> nn.Sequential:
    """Convolution that keeps the size, then half of it.

    The paper has ReLU before the pooling. The maximum of the positive parts is the positive part of the
    maximum, with the same gradient, and this way ReLU has a quarter of the pixels to look at.
    """
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2),
        nn.BatchNorm2d(channels_out),
        nn.MaxPool2d(2),
        nn.ReLU(),
    )


class DeepMerge(Backbone):
    """Three small convolutions, whose flattened output is aligned, and a perceptron as the head.

    Images of any number of channels and at least 16 x 16 pixels. For 3 x 75 x 75 pixels and two classes
    there are 2592 features, none of them negative, and 174,626 parameters, with PyTorch's own initial
    values. Smaller images have fewer features: 32 (H // 8) (W // 8).

    Reference: Ciprijanovic et al. 2021, "DeepMerge II", MNRAS 506, 677.
    """

    class Config(BatchNormConfig):
        """Options of DeepMerge's network."""

    def __init__(self, config: Config, pair: PairInfo) -> None:
        super().__init__(config, pair)
        channels, height, width = image_shape(pair, "deepmerge", MINIMUM_SIZE)
        first, second, third = FILTERS
        self.trunk = nn.Sequential(
            _block(channels, first, kernel=5),
            _block(first, second, kernel=3),
            _block(second, third, kernel=3),
            nn.Flatten(),
        )
        self.head = mlp([third * (height // 8) * (width // 8), *HIDDEN, pair.outputs])
        self.by_domain = config.batch_norm == "by-domain"
        if self.by_domain:
            by_domain(self.trunk, len(pair.domains))

    def embed(self, x: Tensor, domain: Tensor | None = None) -> dict[str, Tensor]:
        """The flattened last convolution as "features" [B, D] of images x [B, C, H, W]; domain [B] if batch
        normalisation goes by it."""
        with told_domains(self.trunk, domain):
            return {"features": self.trunk(x)}
