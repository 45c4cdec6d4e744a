"""The checks of backbones, pairs, selectors and tasks notice what is wrong, and say what it is."""

import pytest

from datk.interfaces import Regularizer
from datk.testing import ToyPair, assert_conforms, check
from tests.testing import broken_choices as choices
from tests.testing import broken_others as broken

FAULTS = [
    (broken.TrunkInList, "its state can be saved and loaded", "'layers' is a plain container of modules"),
    (broken.TakesNone, "accepts images or feature vectors", "it refuses all of [3, 75, 75]"),
    (broken.TakesAll, "works on [3, 75, 75], or refuses it", "raise DataError in __init__"),
    (broken.Featureless, "embed gives features [B, D] on [16]", "under 'features'"),
    (broken.ReadsInput, "stays on the device", "in embed"),
    (broken.ChangesInput, "embed leaves its input as it is on [16]", "in place"),
    (broken.ClassesOnly, "the head has pair.outputs outputs, also where there are no classes", "of 2"),
    (broken.ForgetsAverage, "goes on after a kill as if nothing had been", "attribute average"),
    (broken.Frozen, "the gradient reaches every parameter on [16]", "not trunk.weight, trunk.bias"),
    (broken.FloatLabels, "its data can be trained on", "labels must be class numbers"),
    (broken.AnswersOutOfRange, "answers are labels", "must lie in 0..1"),
    (broken.FloatAnswers, "answers are labels", "must be class numbers"),
    (
        broken.MaskOfNumbers,
        "masks are boolean, groups and domains whole numbers",
        "test of the target is int64",
    ),
    (broken.GroupsOfFloats, "masks are boolean, groups and domains whole numbers", "groups of the source"),
    (broken.AnswersInFileOrder, "answers follow the rows asked for", "a label per row"),
    (broken.OtherData, "the same options give the same data", "differ"),
    (broken.NeedsPath, "works with default options", "path"),
    (choices.LessIsBetter, "more is better (classes)", "the largest score is kept"),
    (choices.NoNumber, "scores a predictor (classes)", "nan"),
    (choices.Draws, "gives the same score again (classes)", ", then "),
    (choices.LooksSecretly, "scores a predictor (classes)", "say needs_target = True"),
    (choices.WantsTargetLabels, "scores a predictor (classes)", "AttributeError"),
    (choices.WantsClasses, "scores a predictor (numbers)", "say needs_classes = True"),
    (choices.ChangesOutputs, "leaves the outputs as they are (classes)", "in place"),
    (choices.MeanLoss, "gives a loss [B], each row its own", "of shape []"),
    (choices.MixesRows, "gives a loss [B], each row its own", "depends on other rows"),
    (choices.NoGradient, "gives a loss [B], each row its own", "no gradient"),
    (choices.OtherMetrics, "scores by its metrics and n", "'rmse' is not among its metrics"),
    (choices.Unscaled, "less loss means better scores", "with the best outputs times"),
    (choices.WrongWay, "less loss means better scores", "before that"),
    (choices.TensorScores, "scores are plain numbers, or None", "Tensor"),
    (choices.ScaleInAttribute, "its constants are part of its state", "make them buffers"),
    (choices.ShufflesLabels, "encodes labels row by row", "for itself"),
    (int, "is a component", "no Backbone"),
    (print, "is a component", "no class"),
]


@pytest.mark.parametrize(("cls", "name", "words"), FAULTS, ids=lambda value: getattr(value, "__name__", None))
def test_a_fault_is_noticed_and_named(cls, name, words):
    faults = {checked: fault for checked, fault in check(cls) if fault is not None}
    assert words in faults.get(name, f"nothing, but {faults}")


@pytest.mark.parametrize(
    "cls",
    [
        broken.Plain,
        broken.ByDomain,
        broken.LargeOnly,
        broken.Clouds,
        broken.Numbers,
        broken.SomeAnswers,
        broken.SomeNumbers,
        choices.Confident,
        choices.Squares,
        ToyPair,
    ],
    ids=lambda cls: cls.__name__,
)
def test_what_is_right_has_no_fault(cls):
    assert_conforms(cls)


def test_options_can_be_given():
    with pytest.raises(AssertionError, match=r"works with these options: .*path"):
        assert_conforms(broken.NeedsPath, road="x")
    assert_conforms(broken.NeedsPath, path="x")


def test_a_fault_is_an_assertion_that_names_component_and_check():
    class Undone(Regularizer):
        """Does nothing."""

        def forward(self, source, target, step):
            raise NotImplementedError("still to be done")

    with pytest.raises(
        AssertionError, match=r"Undone: trains: NotImplementedError in forward.*still to be done"
    ):
        assert_conforms(Undone)
