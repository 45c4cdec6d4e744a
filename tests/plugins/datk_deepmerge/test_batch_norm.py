"""Batch normalisation with statistics of each domain, in the image backbones."""

import pytest
import torch

import datk
from datk.interfaces import PairInfo
from datk.nn import DomainBatchNorm
from datk.training.checkpoints import Checkpoints
from datk_deepmerge.cnn import DeepMerge
from datk_deepmerge.resnet import ResNet18
from tests.toys import TOYS

BACKBONES = {"deepmerge": DeepMerge, "resnet18": ResNet18}
THREE = PairInfo((2, 32, 32), ("a", "b"), domains=("first", "second", "target"))


def build(name, batch_norm):
    torch.manual_seed(0)
    cls = BACKBONES[name]
    return cls(cls.Config(batch_norm=batch_norm), THREE)


def images(rows, shift=0.0):
    return torch.randn(rows, 2, 32, 32, generator=torch.Generator().manual_seed(0)) + shift


@pytest.mark.parametrize("name", BACKBONES)
def test_every_norm_has_statistics_of_each_domain(name):
    joint, apart = build(name, "joint"), build(name, "by-domain")
    assert not joint.by_domain
    assert apart.by_domain
    norms = [part for part in apart.modules() if isinstance(part, DomainBatchNorm)]
    plain = [part for part in joint.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert len(norms) == len(plain) > 0
    assert not [part for part in apart.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert {len(norm.weight) for norm in norms} == {3}


@pytest.mark.parametrize("name", BACKBONES)
def test_of_one_domain_it_is_the_joint_backbone(name):
    joint, apart = build(name, "joint"), build(name, "by-domain")
    x, domain = images(4), torch.full((4,), 2)
    for training in (True, False):
        joint.train(training)
        apart.train(training)
        torch.testing.assert_close(apart(x, domain), joint(x), rtol=1e-3, atol=1e-4)


def test_a_shift_of_one_domain_is_normalised_away():
    backbone = build("deepmerge", "by-domain")
    x = images(8)
    domain = torch.tensor([0, 0, 0, 0, 2, 2, 2, 2])
    moved = x + 50 * (domain == 2)[:, None, None, None]
    # At the borders the padding's zeros tell how far the rows are from zero.
    features, others = (backbone.embed(batch, domain)["features"].view(8, 32, 4, 4) for batch in (x, moved))
    assert torch.equal(features[:4], others[:4])


def test_the_domains_must_be_told():
    with pytest.raises(ValueError, match="told the domain"):
        build("deepmerge", "by-domain")(images(2))


def test_a_run_keeps_statistics_of_both_domains(tmp_path):
    arguments = {
        "pair": {"name": TOYS + "Toy", "shape": [2, 16, 16], "shift": 3.0},
        "backbone": {"name": "deepmerge", "batch_norm": "by-domain"},
        "align": "mmd",
        "device": "cpu",
        "set": {"train.batch_size": 16, "train.select": "last"},
    }
    result = datk.run(**arguments, epochs=2, out=tmp_path / "run")
    state = Checkpoints(result.folder).load_selected()
    (first,) = (value for name, value in state.items() if name.endswith("trunk.0.1.running_mean"))
    assert first.shape == (2, 8)
    assert not torch.equal(first[0], first[1])
    counts = [value.tolist() for name, value in state.items() if name.endswith("num_batches_tracked")]
    assert counts == [[4, 4]] * 3


def test_a_source_only_run_scores_the_target_by_the_sources_statistics(tmp_path):
    result = datk.run(
        pair={"name": TOYS + "Toy", "shape": [2, 16, 16], "shift": 0.0},
        backbone={"name": "deepmerge", "batch_norm": "by-domain"},
        align="none",
        epochs=6,
        device="cpu",
        out=tmp_path / "run",
        set={"train.batch_size": 8, "train.lr": 0.01},
    )
    state = Checkpoints(result.folder).load_selected()
    counts = [value.tolist() for name, value in state.items() if name.endswith("num_batches_tracked")]
    assert all(target == 0 < source for source, target in counts)
    scores = [result.metrics[domain]["test"]["accuracy"] for domain in ("source", "target")]
    assert min(scores) > 0.8
