"""ResNet18 with a bottleneck, the larger network of DeepMerge II."""

from collections import OrderedDict

from pydantic import Field
from torch import Tensor, nn
from torchvision.models import resnet18

from datk.interfaces import Backbone, PairInfo, ParamGroup
from datk.nn import by_domain
from datk_deepmerge.batch_norm import BatchNormConfig, told_domains
from datk_deepmerge.shapes import image_shape

MINIMUM_SIZE = 32
POOLED = 512


def _trunk(channels: int) -> nn.Sequential:
    """All of torchvision's ResNet18 but its classifier, for images of any number of channels."""
    layers = OrderedDict(resnet18(weights=None).named_children())
    del layers["fc"]
    if channels != 3:
        conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(conv1.weight, mode="fan_out", nonlinearity="relu")
        layers["conv1"] = conv1
    layers["flatten"] = nn.Flatten()
    return nn.Sequential(layers)


def _linear(n_in: int, n_out: int, std: float) -> nn.Linear:
    layer = nn.Linear(n_in, n_out)
    nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)
    return layer


class ResNet18(Backbone):
    """ResNet18 from random weights; the features are a linear bottleneck behind the pooled ones.

    Images of any number of channels and at least 32 x 32 pixels: the trunk divides the size by 32, so
    that the last stage would see nothing but padding around a single pixel if they were smaller. Below
    65 pixels that stage has at most 2 x 2 positions, and batch normalisation has little more than
    the batch to average over: do not make batches small as well. The features have no activation and
    take both signs. Bottleneck and head start as N(0, 0.005) and N(0, 0.01) with zero biases. With three
    channels and two classes there are 11,308,354 parameters.

    Reference: He et al. 2016; the bottleneck as in Ciprijanovic et al. 2021, "DeepMerge II", MNRAS 506, 677.
    """

    class Config(BatchNormConfig):
        """Options of the ResNet18."""

        bottleneck: int = Field(256, gt=0)
        """Number of features."""

        lr_mult: float = Field(10.0, gt=0)
        """Factor on the learning rate of the bottleneck and the head; the trunk's is 1."""

    def __init__(self, config: Config, pair: PairInfo) -> None:
        super().__init__(config, pair)
        channels, _, _ = image_shape(pair, "resnet18", MINIMUM_SIZE)
        self.trunk = _trunk(channels)
        self.bottleneck = _linear(POOLED, config.bottleneck, std=0.005)
        self.head = _linear(config.bottleneck, pair.outputs, std=0.01)
        self.lr_mult = config.lr_mult
        self.by_domain = config.batch_norm == "by-domain"
        if self.by_domain:
            by_domain(self.trunk, len(pair.domains))

    def embed(self, x: Tensor, domain: Tensor | None = None) -> dict[str, Tensor]:
        """The trunk's output as "pooled" [B, 512] and the bottleneck's as "features" [B, D]; domain [B] if
        batch normalisation goes by it."""
        with told_domains(self.trunk, domain):
            pooled = self.trunk(x)
        return {"pooled": pooled, "features": self.bottleneck(pooled)}

    def param_groups(self) -> list[ParamGroup]:
        """Trunk, bottleneck and head, the last two with their own learning rate."""
        return [
            ParamGroup(list(self.trunk.parameters())),
            ParamGroup(list(self.bottleneck.parameters()), lr_mult=self.lr_mult),
            ParamGroup(list(self.head.parameters()), lr_mult=self.lr_mult),
        ]
