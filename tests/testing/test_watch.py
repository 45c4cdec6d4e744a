"""What counts as leaving the device, and what does not."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from datk.testing.watch import OnDevice, Still, lists_of_modules, same, unsaved

LEAVES = {
    ".item()": lambda x, k: x.sum().item(),
    ".tolist()": lambda x, k: x.tolist(),
    ".numpy()": lambda x, k: x.numpy(),
    ".cpu()": lambda x, k: x.cpu(),
    ".to('cpu')": lambda x, k: x.to("cpu"),
    "bool() or if": lambda x, k: 1 if x.sum() > 0 else 2,
    "float()": lambda x, k: float(x.sum()),
    "int()": lambda x, k: int(k[0]),
    "an index": lambda x, k: [1, 2, 3][k[0]],
    "np.asarray()": lambda x, k: np.asarray(x),
    "in": lambda x, k: 3.0 in x,
    ".equal()": lambda x, k: torch.equal(x, x),
    ".nonzero()": lambda x, k: x.nonzero(),
    ".unique()": lambda x, k: k.unique(),
    "selecting rows by a mask": lambda x, k: x[k > 0],
    "where() of a condition alone": lambda x, k: torch.where(x > 0),
    "one_hot() without the number of classes": lambda x, k: F.one_hot(k),
    "torch.tensor() of tensors": lambda x, k: torch.tensor([x.sum(), x.sum()]),
    "a tensor made without device=": lambda x, k: x * torch.ones(3),
}
STAYS = {
    "one_hot": lambda x, k: F.one_hot(k, 3),
    "indices": lambda x, k: x[k],
    "a mask that is filled": lambda x, k: x.masked_fill(x > 0, 0.0),
    "set by a mask": lambda x, k: x.clone().__setitem__(x > 0, 0.0),
    "shapes": lambda x, k: x.shape[0] + len(x) + x.ndim,
    "where": lambda x, k: torch.where(x > 0, x, torch.tensor(0.0)),
    "a number": lambda x, k: x * torch.tensor(2.0),
    "a constant of the device": lambda x, k: x * torch.ones(3, device=x.device),
    "a draw": lambda x, k: x + torch.randn_like(x),
    "a draw of the host, moved": lambda x, k: x + torch.randn(3).to(x.device),
    "a draw of the host, read": lambda x, k: [*torch.randperm(3).tolist(), float(torch.rand(()))],
    "a type": lambda x, k: x.double().to(torch.float32),
    "a row of the host": lambda x, k: x[torch.randperm(3)],
    "a loop over rows": lambda x, k: sum(x),
}


def noted(use):
    found = []
    x, k = torch.tensor([0.5, -1.0, 2.0]), torch.tensor([0, 2, 1])
    with OnDevice(found.append):
        use(x, k)
    return found


@pytest.mark.parametrize("told", LEAVES)
def test_what_leaves_the_device_is_told_with_its_line(told):
    found = noted(LEAVES[told])
    assert any(text.startswith(told) and "test_watch.py, line" in text for text in found)


@pytest.mark.parametrize("use", STAYS)
def test_what_stays_is_not(use):
    assert noted(STAYS[use]) == []


def test_draws_and_dropout_stand_still():
    x = torch.ones(5)
    with Still():
        assert torch.equal(F.dropout(x, 0.5), x)
        assert torch.equal(nn.Dropout(0.5)(x), x)
        assert torch.equal(x + torch.randn_like(x), x)
        assert torch.equal(torch.rand(5), x / 2)
        assert torch.equal(torch.randperm(5), torch.arange(5))
    assert not torch.equal(F.dropout(x, 0.5), x)


class Module(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("saved", torch.zeros(2))
        self.register_buffer("unsaved", torch.zeros(2), persistent=False)
        self.count, self._hidden = 0, {"a": [torch.zeros(2)]}
        self.inner = nn.Sequential(nn.Linear(2, 2))
        self.inner.tables = {"b": (nn.Linear(2, 2),)}


def test_what_is_not_saved_is_found_and_compared():
    module = Module()
    before = unsaved(module)
    assert {"buffer unsaved (persistent=False)", "attribute count", "attribute _hidden"} <= before.keys()
    assert not any("saved" in name and "unsaved" not in name for name in before)
    assert same(before, unsaved(module))
    module._hidden["a"][0] += 1
    changed = {name for name, value in unsaved(module).items() if not same(value, before[name])}
    assert changed == {"attribute _hidden"}
    assert lists_of_modules(module) == ["inner.tables"]
