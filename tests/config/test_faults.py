"""Which component an exception came out of."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from datk.config.faults import exception_text, plugin_fault
from datk.interfaces import AlignmentLoss, Backbone, DomainPair, ModelInfo, PairInfo, Regularizer, Selector
from datk.runs.oracle import Oracle
from datk_tasks.classification import Classification

MODEL = ModelInfo(("a", "b"), {"features": (3,)}, 10, 10)


class Far(AlignmentLoss):
    def forward(self, source, target, step):
        return [self.helper(part) for part in (source, target)][0]  # noqa: RUF015

    def helper(self, part):
        def deeper():
            raise KeyError(part)

        return deeper()

    def on_epoch_start(self, backbone, rows):
        backbone(torch.zeros(1, 9))


class Net(Backbone):
    def __init__(self, config, pair):
        super().__init__(config, pair)
        self.trunk, self.head = nn.Sequential(nn.Linear(4, 3)), nn.Linear(3, 2)

    def embed(self, x):
        return {"features": self.trunk(x)}


class Needy(Regularizer):
    def __init__(self, config, model):
        super().__init__(config, model)
        self.width = model.width

    def forward(self, source, target, step):
        return source


class Sky(DomainPair):
    def __init__(self, config):
        raise OSError

    def answers(self, rows):
        return None


class Best(Selector):
    def score(self, source, target):
        return 1 / target


def told(call, *arguments):
    with pytest.raises(Exception) as raised:
        call(*arguments)
    return plugin_fault(raised.value)


def test_the_method_of_a_component_is_named():
    far = Far(Far.Config(), MODEL)
    assert told(far, 1, 2, 3) == ("alignment 'Far' failed in helper: KeyError: 1", False)
    assert told(Needy, None, MODEL) == (
        "regularizer 'Needy' failed in __init__: AttributeError: 'ModelInfo' object has no attribute 'width'",
        False,
    )
    assert told(Sky, None) == ("pair 'Sky' failed in __init__: OSError", False)
    assert told(Best(None, None).score, 1, 0) == (
        "selector 'Best' failed in score: ZeroDivisionError: division by zero",
        False,
    )


def test_a_wrong_signature_is_a_fault_of_the_method():
    far = Far(Far.Config(), MODEL)
    message, ours = told(far, 1)
    assert message.startswith("alignment 'Far' failed in forward: TypeError: Far.forward() missing 2 req")
    assert not ours


def test_of_several_components_the_innermost_counts():
    """A layer of a backbone fails, in a pass that a term asked for."""
    far, net = Far(Far.Config(), MODEL), Net(None, PairInfo((4,), ("a", "b")))
    message, ours = told(far.on_epoch_start, net, None)
    assert message.startswith("backbone 'Net' failed in embed: RuntimeError: mat1 and mat2 shapes cannot be")
    assert not ours
    net.trunk = nn.Linear(9, 5)
    assert told(net, torch.zeros(1, 9))[0].startswith("backbone 'Net' failed in forward: RuntimeError: ")


def test_a_shipped_component_is_ours():
    message, ours = told(Classification(None).loss, None, None)
    assert message.startswith("task 'classification' of distribution datk failed in loss: TypeError: ")
    assert ours


def test_an_installed_component_goes_by_its_name_and_distribution(install):
    source = "from datk.interfaces import Selector\nclass Odd(Selector):\n"
    source += "    def score(self, source, target):\n        raise ValueError('no score')\n"
    install("other-dist", {"datk.selectors": {"odd-one": "odd_module:Odd"}}, odd_module=source)
    from odd_module import Odd

    assert told(Odd(None, None).score, 1, 2) == (
        "selector 'odd-one' of distribution other-dist failed in score: ValueError: no score",
        False,
    )


def test_what_comes_out_of_no_component_or_of_the_core_is_none():
    assert told(int, "x") is None
    assert told(nn.Linear(2, 2), torch.zeros(3)) is None
    assert told(Oracle(None, None).score, None, None) is None


def test_an_exception_without_a_message_is_its_type():
    assert exception_text(ValueError("no")) == "ValueError: no"
    assert exception_text(NotImplementedError()) == "NotImplementedError"


def test_looking_for_a_component_loads_none():
    script = (
        "import sys\nfrom datk.config.faults import plugin_fault\n"
        "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    assert plugin_fault(error) is None\n"
        "assert not {'torch', 'datk.interfaces'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
