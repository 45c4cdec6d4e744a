"""Starting from the weights of another run."""

from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

import datk
from datk.base.errors import ConfigError, RunError
from datk.interfaces import PairInfo
from datk.training.checkpoints import Checkpoints
from datk.training.warm_start import Initial, about, compare, initialize, load_initial
from tests import build
from tests.toys import TOYS


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A run with two terms that own weights."""
    folder = tmp_path_factory.mktemp("earlier") / "run"
    run(folder, pair={"shift": 5.0}, align="dann", reg=["fisher"])
    return folder


def run(folder, pair=None, align="mmd", reg=(), backbone="mlp", train=None, **arguments):
    backbone = {"name": backbone, "hidden": [8, 4]} if backbone == "mlp" else backbone
    return datk.run(
        pair={"name": TOYS + "Toy", **(pair or {})},
        backbone=backbone,
        align={"dann": {"hidden": [4]}} if align == "dann" else align,
        reg=reg,
        epochs=2,
        out=folder,
        device="cpu",
        set={"train.batch_size": 16, **(train or {})},
        **arguments,
    )


def objective(**changes):
    config = {
        "backbone": {"name": "mlp", "hidden": [8, 4]},
        "align": {"dann": {"hidden": [4]}},
        "reg": ["fisher", "entropy"],
        **changes,
    }
    return build.objective(build.experiment(**config, seed=9), PairInfo((6,), ("a", "b")), 10, 10)


def test_weights_of_the_backbone_and_of_terms_of_the_same_name_are_taken_over(earlier):
    model, saved = objective(), Checkpoints(earlier).load_selected()
    initialize(model, load_initial(earlier))
    state = model.state_dict()
    ours = {
        name.removeprefix("objective."): tensor for name, tensor in saved.items() if "standard" not in name
    }
    assert any(name.startswith("terms.fisher") for name in ours)
    assert any(name.startswith("terms.dann") for name in ours)
    assert all(torch.equal(state[name], tensor) for name, tensor in ours.items())


def test_terms_that_only_one_run_has_keep_their_own_weights(earlier):
    fresh, model = objective(align=TOYS + "Centroid"), objective(align=TOYS + "Centroid")
    initialize(model, load_initial(earlier))
    assert all(
        torch.equal(mine, theirs)
        for mine, theirs in zip(
            fresh.loss_terms["Centroid"].parameters(), model.loss_terms["Centroid"].parameters(), strict=True
        )
    )


def test_a_run_starts_from_the_weights(earlier, tmp_path):
    """With a learning rate of nothing they stay what they were."""
    result = run(tmp_path / "run", reg=["fisher"], init=earlier, train={"train.lr": 1e-30})
    before, after = Checkpoints(earlier).load_selected(), Checkpoints(tmp_path / "run").load_selected()
    for name, tensor in after.items():
        if "standardizers" not in name:
            torch.testing.assert_close(tensor, before[name], rtol=0, atol=1e-20)
    assert datk.read_result(tmp_path / "run") == result


@pytest.mark.parametrize("normalization", ["fresh", "inherited"])
def test_standardisation_is_fresh_or_inherited(normalization, earlier, tmp_path):
    run(tmp_path / "own", pair={"shift": 9.0})
    run(tmp_path / "run", pair={"shift": 9.0}, init=earlier, train={"init_normalization": normalization})
    expected = Checkpoints(tmp_path / "own" if normalization == "fresh" else earlier).load_selected()
    found = Checkpoints(tmp_path / "run").load_selected()
    for name in ("source.mean", "source.std", "target.mean", "target.std"):
        assert torch.equal(found[f"standardizers.{name}"], expected[f"standardizers.{name}"])


def test_an_initialised_run_can_be_resumed(earlier, tmp_path):
    whole = run(tmp_path / "whole", init=earlier)
    run(tmp_path / "run", init=earlier)
    (tmp_path / "run" / "result.json").unlink()
    assert run(tmp_path / "run", init=earlier, resume=True).weights_sha256 == whole.weights_sha256


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"backbone": {"name": "mlp", "hidden": [8, 5]}},
            r"'linear\.1\.weight' is \[5, 8\] here and \[4, 8\] there",
        ),
        (
            {"backbone": {"name": "mlp", "hidden": [8, 4, 4]}},
            r"'linear\.2\.weight' is \[4, 4\] here and missing there",
        ),
        (
            {"align": {"dann": {"hidden": [3]}}},
            r"dann weight 'classifier\.0\.weight' is \[3, 4\] here and \[4, 4\]",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(changes, message, earlier):
    with pytest.raises(RunError, match=f"--init .*{message}"):
        initialize(objective(**changes), load_initial(earlier))


def test_a_larger_network_there_is_no_smaller_one_here(earlier, tmp_path):
    run(tmp_path / "deeper", backbone={"name": "mlp", "hidden": [8, 4, 4]})
    with pytest.raises(RunError, match=r"backbone weight 'linear\.2\.bias' is there but not here"):
        initialize(objective(), load_initial(tmp_path / "deeper"))


def forget(folder):
    """Take from a model what it is of, as earlier versions did not write it."""
    path = folder / "checkpoints" / "selected.safetensors"
    path.write_bytes(safetensors.torch.save(safetensors.torch.load_file(path)))


def test_other_samples_are_refused(earlier, tmp_path):
    with pytest.raises(
        RunError, match=r"run is on vectors of 6 features, and this one on vectors of 5 features"
    ):
        run(tmp_path / "fresh", pair={"shape": (5,)}, init=earlier)
    run(tmp_path / "old")
    forget(tmp_path / "old")
    with pytest.raises(RunError, match=r"'linear\.0\.weight' is \[8, 5\] here and \[8, 6\] there"):
        run(tmp_path / "fresh", pair={"shape": (5,)}, init=tmp_path / "old")
    inherited = {"init_normalization": "inherited"}
    with pytest.raises(
        ConfigError, match=r"does not fit samples of shape \[5\]; use init_normalization=fresh"
    ):
        run(tmp_path / "run", pair={"shape": (5,)}, init=tmp_path / "old", train=inherited)
    assert not (tmp_path / "run").exists()


# --- classes, numbers and channels ---------------------------------------------------------------------

MODEL = PairInfo((3, 8, 8), ("spiral", "ring", "bar"))


def compared(there, here, by_source=False):
    return compare(Initial(Path("old"), {}, {}, {}, about(there)), here, by_source)


def test_the_same_classes_and_channels_may_go_on(earlier):
    assert compared(MODEL, MODEL) is None
    assert compared(MODEL, replace(MODEL, shape=(3, 9, 9))) is None  # the weights decide
    assert load_initial(earlier).about["classes"] == ["class 0", "class 1"]
    one = PairInfo((4,), targets=("redshift",))
    assert compared(one, replace(one, targets=("z",))) is None  # another name for the only number


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"classes": ("bar", "ring", "spiral")},
            r"^--init old: the classes are in another order, 'spiral', 'ring', 'bar' there and 'bar', "
            r"'ring', 'spiral' here; number them in the order of that run \(pair.classes of `arrays`\)$",
        ),
        (
            {"classes": ("spiral", "ring")},
            "the classes are 'spiral', 'ring', 'bar' there and 'spiral', 'ring' here",
        ),
        ({"classes": ("spiral", "ring", "bar", "odd")}, "'bar', 'odd' here; a model can go on with the same"),
        ({"classes": ("Spiral", "ring", "bar")}, "'Spiral', 'ring', 'bar' here"),
        (
            {"classes": (), "targets": ("mass",), "outputs": 3},
            "that run predicts classes, and this one numbers",
        ),
        ({"shape": (1, 8, 8)}, "that run is on images of 3 channels, and this one on images of 1 channel;"),
        ({"shape": (3,)}, "images of 3 channels, and this one on vectors of 3 features"),
    ],
)
def test_other_classes_and_channels_are_refused(changes, message):
    with pytest.raises(RunError, match=message):
        compared(MODEL, replace(MODEL, **changes))


def test_numbers_in_another_order_are_refused():
    model = PairInfo((4,), targets=("mass", "size"))
    with pytest.raises(
        RunError, match="the targets are in another order, 'mass', 'size' there and 'size', 'm"
    ):
        compared(model, PairInfo((4,), targets=("size", "mass")))
    with pytest.raises(RunError, match="the targets are 'mass', 'size' there and 'mass', 'age' here"):
        compared(model, PairInfo((4,), targets=("mass", "age")))


def test_sources_in_another_order_are_refused_where_they_count():
    there, here = (replace(MODEL, domains=(*sources, "target")) for sources in (("a", "b"), ("b", "a")))
    assert compared(there, here) is None
    assert compared(there, replace(here, domains=("c", "d", "target")), by_source=True) is None
    with pytest.raises(RunError, match="the sources are in another order, 'a', 'b' there and 'b', 'a' here"):
        compared(there, here, by_source=True)


def test_a_run_whose_classes_are_reordered_is_refused(earlier, tmp_path):
    """They would be taken for each other: what was all right would be all wrong."""
    (tmp_path / "reordered.py").write_text(
        """
from tests.toys import Toy

class Reordered(Toy):
    def __init__(self, config):
        super().__init__(config)
        self.classes = self.classes[::-1]
        self.source_labels, self._answers = 1 - self.source_labels, 1 - self._answers
"""
    )
    with pytest.raises(RunError, match="the classes are in another order, 'class 0', 'class 1' there"):
        run(tmp_path / "run", pair={"name": f"{tmp_path}/reordered.py:Reordered"}, init=earlier)
    assert not (tmp_path / "run").exists()
    run(tmp_path / "old")
    forget(tmp_path / "old")
    result = run(tmp_path / "run", init=tmp_path / "old")
    assert any("did not record classes and channels; see that they are the same" in n for n in result.notes)
    assert not any("--init" in note for note in run(tmp_path / "new", init=earlier).notes)


def test_there_is_nothing_to_inherit_without_another_run(tmp_path):
    with pytest.raises(ConfigError, match=r"^init_normalization=inherited .* name it by --init"):
        run(tmp_path / "run", train={"init_normalization": "inherited"})


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"--init .*nowhere: no such run folder"):
        load_initial(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match=r"empty holds no trained model"):
        load_initial(tmp_path / "empty")
