"""Starting from the weights of another run."""

import pytest
import torch

import datk
from datk.base.errors import ConfigError, RunError
from datk.interfaces import PairInfo
from datk.training.checkpoints import Checkpoints
from datk.training.warm_start import initialize, load_initial
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


def test_other_samples_are_refused(earlier, tmp_path):
    with pytest.raises(RunError, match=r"'linear\.0\.weight' is \[8, 5\] here and \[8, 6\] there"):
        run(tmp_path / "fresh", pair={"shape": (5,)}, init=earlier)
    with pytest.raises(
        ConfigError, match=r"does not fit samples of shape \[5\]; use init_normalization=fresh"
    ):
        run(tmp_path / "run", pair={"shape": (5,)}, init=earlier, train={"init_normalization": "inherited"})
    assert not (tmp_path / "run").exists()


def test_there_is_nothing_to_inherit_without_another_run(tmp_path):
    with pytest.raises(ConfigError, match=r"^init_normalization=inherited .* name it by --init"):
        run(tmp_path / "run", train={"init_normalization": "inherited"})


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"--init .*nowhere: no such run folder"):
        load_initial(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match=r"empty holds no trained model"):
        load_initial(tmp_path / "empty")
