"""The checks of terms notice what is wrong, say what it is, and let pass what is right."""

import pytest

from datk.testing import assert_conforms, check
from tests.testing import broken_terms as broken
from tests.testing import correct_terms as correct

FAULTS = [
    (broken.DetachedLoss, "pulls on the backbone", "no gradient"),
    (broken.DetachedFeatures, "pulls on the backbone", "are the features detached?"),
    (broken.Nothing, "pulls on the backbone", "with weight = 0 the network is the same"),
    (broken.IgnoresTarget, "looks at the target, or says needs_target = False", "not depend on target rows"),
    (broken.IgnoresSource, "has to do with the source", "neither on source rows nor on what the head"),
    (broken.Unmoved, "its parameters are trained", "no gradient moves unused"),
    (broken.Ungrouped, "trains", "parameter 'scale' 0 times"),
    (broken.Vector, "trains", "gives shape [8], not one number"),
    (broken.ReadsOrder, "row numbers tell it nothing", "index is no order"),
    (broken.Unseeded, "a seed gives the same weights again", "drawn with no seed"),
    (broken.MovesAttribute, "goes on after a kill as if nothing had been", "attribute average"),
    (
        broken.MovesUnsavedBuffer,
        "goes on after a kill as if nothing had been",
        "buffer steps (persistent=False)",
    ),
    (broken.CountsInForward, "goes on after a kill as if nothing had been", "attribute calls"),
    (broken.HiddenTeacher, "its state can be saved and loaded", "'teachers' is a plain container of modules"),
    (broken.ReadsInForward, "every option is documented", "knob"),
    (broken.ReadsInForward, "stays on the device", ".item() (broken_terms.py, line"),
    (broken.ReadsAfterStep, "stays on the device", "in after_step"),
    (broken.ReadsInSecondPhase, "stays on the device", "in forward, phase 'second'"),
    (broken.AsksTensor, "stays on the device", "bool() or if"),
    (broken.SelectsByMask, "stays on the device", "selecting rows by a mask"),
    (broken.ConstantOfHost, "stays on the device", "without device="),
    (broken.SumInTraining, "is a mean over rows, or says over_batch = True", "of its halves"),
    (broken.CrashesInSecondPhase, "trains", "RuntimeError in forward, phase 'second'"),
    (broken.NanInSecondPhase, "trains", "it gives nan in phase 'second'"),
    (broken.NanWithoutClass, "trains", "it gives nan in phase 'train'"),
    (broken.CrashesWithoutFirstClass, "copes with a batch that lacks a class", "of class 0"),
    (broken.ChangesView, "trains", "forward, phase 'train' changes target.features in place"),
    (broken.ChangesData, "leaves the batch as it is", "changes source.x in place"),
    (
        broken.TakesClasses,
        "trains where numbers are predicted, or says needs_classes = True",
        "needs_classes = True",
    ),
]


@pytest.mark.parametrize(("cls", "name", "words"), FAULTS, ids=lambda value: getattr(value, "__name__", None))
def test_a_fault_is_noticed_and_named(cls, name, words):
    faults = {checked: fault for checked, fault in check(cls) if fault is not None}
    assert words in faults.get(name, f"nothing, but {faults}")


CORRECT = [cls for cls in vars(correct).values() if getattr(cls, "__module__", "") == correct.__name__]


@pytest.mark.parametrize(
    "cls",
    [broken.Right, broken.TwoPhases, *(cls for cls in CORRECT if isinstance(cls, type))],
    ids=lambda cls: cls.__name__,
)
def test_what_is_right_has_no_fault(cls):
    assert_conforms(cls)
