"""What a run is made of, a piece at a time."""

import torch

from datk.config.resolve import resolve
from datk.data.dataset import prepare
from datk.training.objective import Objective
from tests.toys import TOYS

CPU = torch.device("cpu")


def experiment(**config):
    """A resolved configuration of the toy pair and a perceptron, without alignment, but for what is given."""
    return resolve(config={"pair": TOYS + "Toy", "backbone": "mlp", "align": "none", **config})


def task_of(chosen):
    """The experiment's task."""
    return chosen.task.cls(chosen.task.config)


def dataset(chosen):
    """The experiment's data, on the CPU."""
    return prepare(chosen.pair.cls(chosen.pair.config), task_of(chosen), chosen.config, CPU)


def objective(chosen, info, source_size=100, target_size=100):
    """The experiment's model, set up for a pair of that description."""
    model = Objective(chosen, task_of(chosen), info, source_size, target_size)
    model.set_up(chosen.config.seed)
    return model
