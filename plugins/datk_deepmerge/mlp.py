"""A perceptron for samples that are vectors."""

from itertools import pairwise
from math import prod

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from datk.interfaces import Backbone, ComponentConfig, PairInfo


class MLP(Backbone):
    """Fully connected layers with ReLU; the features are the last hidden layer.

    For feature vectors; images are flattened, which forgets what lies next to what. Dropout acts on
    what each later layer reads, so that loss terms see the hidden layers without it.
    """

    class Config(ComponentConfig):
        """Options of the perceptron."""

        hidden: tuple[PositiveInt, ...] = Field((128, 64), min_length=1)
        """Sizes of the hidden layers; the last is the number of features."""

        dropout: float = Field(0.0, ge=0, lt=1)
        """Probability that an output of a hidden layer is dropped in training."""

    def __init__(self, config: Config, pair: PairInfo) -> None:
        super().__init__(config, pair)
        sizes = [prod(pair.shape), *config.hidden]
        self.linear = nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in pairwise(sizes))
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Sequential(self.dropout, nn.Linear(sizes[-1], pair.outputs))

    def embed(self, x: Tensor) -> dict[str, Tensor]:
        """Every hidden layer, "hidden1" on, of samples x [B, *shape]; the last one also as "features"."""
        layers: dict[str, Tensor] = {}
        last = x.flatten(1)
        for number, linear in enumerate(self.linear, start=1):
            read = last if number == 1 else self.dropout(last)
            last = linear(read).relu()
            layers[f"hidden{number}"] = last
        return layers | {"features": last}
