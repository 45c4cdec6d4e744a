"""Conformance checks for components: what `datk plugins check` runs, and a plugin's own tests can.

A component is trained for a few steps, several times, by the trainer that trains every run: on toy data with
three classes, one of them rare. Most take a second.

    from datk.testing import assert_conforms
    from my_package import MyLoss

    def test_my_loss_keeps_the_interface():
        assert_conforms(MyLoss)
        assert_conforms(MyLoss, radius=3.0)  # with other options
"""

from datk.testing.check import assert_conforms, check
from datk.testing.toys import ToyPair, views

__all__ = ["ToyPair", "assert_conforms", "check", "views"]
