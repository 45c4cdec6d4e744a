"""The published pairs, on a miniature of their record: groups, notes, and what is said when it is missing."""

import h5py
import numpy as np
import pytest

from datk.base.errors import DataError
from datk.data.published.records import MissingDataError
from datk.data.splits import split_pair
from datk.testing import assert_conforms
from datk_galaxies import grouping
from datk_galaxies.grouping import group_simsim
from datk_galaxies.illustris import IllustrisSDSS, IllustrisSimSim

FRACTIONS = 0.7, 0.1, 0.2
PAIRS = [IllustrisSimSim, IllustrisSDSS]


@pytest.fixture
def make(fetched, monkeypatch):
    """Opens a pair of the miniature."""
    monkeypatch.setenv("DATK_DATA_DIR", str(fetched))
    return lambda cls, **options: cls(cls.Config(**options))


@pytest.mark.parametrize("cls", PAIRS)
def test_rows_are_read_from_the_converted_record(make, published, cls):
    pair = make(cls)
    rows = np.array([0, 5, 100])
    for domain, samples in (("source", pair.source), ("target", pair.target)):
        expected = published(cls.record, f"{domain}/x")[rows].astype(np.float32)
        assert samples.x[rows].tobytes() == expected.tobytes()
        assert not samples.in_memory
    assert np.array_equal(pair.source_labels, published(cls.record, "source/y"))
    assert pair.answers(rows).tolist() == [1, 1, 0 if cls is IllustrisSDSS else 1]
    assert pair.classes == ("non-merger", "merger")


def test_groups_of_the_simulated_pair_are_galaxies_in_both_domains(make, galaxies):
    pair = make(IllustrisSimSim)
    assert pair.shared_groups
    assert np.array_equal(pair.source.groups, galaxies)
    assert np.array_equal(pair.target.groups, galaxies)
    assert "verified on the arrays of source and target" in pair.notes[0]
    assert "cameras" in pair.notes[0]


@pytest.mark.parametrize("seed", range(3))
def test_no_galaxy_is_parted_by_the_split(make, galaxies, seed):
    pair = make(IllustrisSimSim)
    splits = split_pair(pair.source, pair.target, pair.shared_groups, FRACTIONS, seed)
    for part in ("train", "validation", "test"):
        rows = np.concatenate([getattr(splits.source, part), getattr(splits.target, part)])
        others = [
            getattr(domain, other)
            for domain in (splits.source, splits.target)
            for other in {"train", "validation", "test"} - {part}
        ]
        assert not np.isin(galaxies[rows], galaxies[np.concatenate(others)]).any()


def test_groups_of_the_other_pair_are_found_by_a_search(make):
    pair = make(IllustrisSDSS)
    assert not pair.shared_groups
    for samples in (pair.source, pair.target):
        assert not np.isin(samples.groups[:60], samples.groups[60:]).any()
    others = pair.target.groups[60:]
    assert all((others[row - 7 : row] == others[row]).sum() == 1 for row in (15, 31, 47, 59))
    assert len(np.unique(pair.source.groups[60:])) == 60
    count = len(np.unique(pair.target.groups))
    assert f"of the target: {count} sets of near duplicates, by a search" in pair.notes[0]


@pytest.mark.parametrize("cls", PAIRS)
def test_a_miniature_says_that_it_is_synthetic(make, fetched, tmp_path, cls):
    assert "synthetic" in make(cls).notes[1]
    moved = tmp_path / "moved"
    moved.mkdir()
    folder = fetched / cls.record.name
    (moved / "data.h5").symlink_to(folder / "data.h5")
    text = (folder / "manifest.json").read_text()
    (moved / "manifest.json").write_text(text.replace('"mock": true', '"mock": false'))
    assert len(make(cls, path=str(moved / "data.h5")).notes) == 1


@pytest.mark.parametrize("cls", PAIRS)
def test_a_fetched_pair_keeps_the_interface(make, cls):
    make(cls)
    assert_conforms(cls)


@pytest.mark.parametrize("cls", PAIRS)
def test_missing_data_are_named_with_the_way_to_get_them(tmp_path, monkeypatch, cls):
    monkeypatch.setenv("DATK_DATA_DIR", str(tmp_path))
    with pytest.raises(MissingDataError, match=f"datk data fetch {cls.record.name} .* GB") as error:
        cls(cls.Config())
    assert "datk data mock deepmerge" in str(error.value)


def test_a_file_without_word_of_its_groups_is_refused(make, fetched, tmp_path):
    folder = fetched / "illustris-sdss"
    (tmp_path / "data.h5").write_bytes((folder / "data.h5").read_bytes())
    (tmp_path / "manifest.json").write_bytes((folder / "manifest.json").read_bytes())
    with h5py.File(tmp_path / "data.h5", "r+") as file:
        del file.attrs["groups_from"]
    with pytest.raises(DataError, match="--force"):
        make(IllustrisSDSS, path=str(tmp_path / "data.h5"))


def test_the_command_line_makes_fetches_and_trains_on_the_miniature(datk, tmp_path, monkeypatch):
    monkeypatch.setenv("DATK_DATA_DIR", str(tmp_path / "data"))
    assert datk("data", "mock", "deepmerge", "--out", "m", "--scale", "0.01").code == 0
    assert datk("data", "fetch", "illustris-simsim", "--from", "m").code == 0
    run = datk(
        "run",
        "--pair",
        "illustris-simsim",
        "--backbone",
        "mlp",
        "--align",
        "none",
        "--epochs",
        "1",
        "--device",
        "cpu",
        "--out",
        "run",
        "--quiet",
    )
    assert run.code == 0, run.err
    assert "synthetic miniature" in (tmp_path / "run" / "result.json").read_text()


# --- when the rows are not in the published order ------------------------------------------------------


@pytest.fixture
def record(published, tmp_path):
    """An open file with x and y of the miniature; `record(source=rows, target=rows)` takes these rows."""
    files = []

    def write(**order):
        files.append(h5py.File(tmp_path / f"{len(files)}.h5", "w"))
        for domain in ("source", "target"):
            rows = order.get(domain, slice(None))
            file = (
                published(IllustrisSimSim.record, f"{domain}/x"),
                published(IllustrisSimSim.record, f"{domain}/y"),
            )
            files[-1][f"{domain}/x"] = file[0][rows].astype(np.float32)
            files[-1][f"{domain}/y"] = file[1][rows].astype(np.int64)
        return files[-1]

    yield write
    for file in files:
        file.close()


@pytest.fixture
def searched(monkeypatch):
    """Replaces the search: it finds one group in each ten rows. Lists the arrays it was called for."""
    calls = []

    def search(x):
        calls.append(x.name)
        return np.arange(x.shape[0]) // 10

    monkeypatch.setattr(grouping, "group_duplicates", search)
    return calls


def shuffled(seed=0):
    return np.random.default_rng(seed).permutation(306)


def test_shuffled_rows_that_correspond_share_the_groups_of_a_search(record, searched):
    file = record(source=shuffled(), target=shuffled())
    group_simsim(file)
    assert searched == ["source/x"]
    assert file.attrs["shared_groups"]
    assert np.array_equal(file["source/group"], file["target/group"])
    assert file["source/group"][:].max() == 30
    assert "31 sets of near duplicates" in file.attrs["groups_from"]
    assert "because the labels are not" in file.attrs["groups_from"]


def test_rows_that_do_not_correspond_share_no_groups(record, searched, galaxies):
    file = record(target=shuffled())
    group_simsim(file)
    assert searched == ["target/x"]
    assert not file.attrs["shared_groups"]
    assert np.array_equal(file["source/group"], galaxies)
    assert file["target/group"][:].max() == 30
    assert "of the source: galaxies" in file.attrs["groups_from"]
    assert "of the target: 31 sets" in file.attrs["groups_from"]


def test_galaxies_are_known_in_a_domain_that_corresponds_to_one_in_order(record, searched, galaxies):
    file = record()
    file["target/x"][100, 0, 30, 30] += 1
    group_simsim(file)
    assert searched == []
    assert file.attrs["shared_groups"]
    assert np.array_equal(file["target/group"], galaxies)
    assert "verified on the arrays of source, " in file.attrs["groups_from"]


def test_the_search_itself_finds_the_flipped_copies_of_shuffled_mergers(record):
    file = record(source=shuffled(), target=shuffled())
    group_simsim(file)
    groups = np.empty(306, dtype=int)
    groups[shuffled()] = file["source/group"]
    assert (groups[:160].reshape(5, 32) == groups[:32]).all()


def test_labels_of_other_classes_are_refused(record):
    file = record()
    file["source/y"][7] = 2
    with pytest.raises(DataError, match="source/y has the label 2 in row 7"):
        group_simsim(file)


def test_groups_do_not_depend_on_target_labels(record):
    groups = []
    for spoiled in (False, True):
        file = record()
        if spoiled:
            file["target/y"][:] = 1 - file["target/y"][:]
        group_simsim(file)
        groups.append((file["target/group"][:].tolist(), file.attrs["groups_from"]))
    assert groups[0] == groups[1]
