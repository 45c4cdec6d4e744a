"""The miniature has the names, the types, the order and the flaws of the published files."""

import hashlib
import json

import numpy as np
import pytest

from datk.base.errors import ConfigError
from datk_galaxies.deepmerge_record import SIMREAL, SIMSIM
from datk_galaxies.mock_record import LEAST_SCALE, write

HEADER = 128
MERGERS, OTHERS = 160, 146
"""Rows of the simulated pair: 8 galaxies x 4 cameras x 5 blocks; 37 galaxies x 4 cameras, less 2."""


def correlations(a, b):
    flat = [x.reshape(len(x), -1) for x in (a, b)]
    centred = [x - x.mean(axis=1, keepdims=True) for x in flat]
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in centred]
    return unit[0] @ unit[1].T


@pytest.mark.parametrize(("record", "mergers", "others"), [(SIMSIM, MERGERS, OTHERS), (SIMREAL, 60, 60)])
def test_files_have_the_published_form(published, record, mergers, others):
    rows = mergers + others
    for key in record.files:
        array = published(record, key)
        assert array.shape == ((rows, 3, 75, 75) if key.endswith("x") else (rows,))
        assert array.dtype == np.float64
        assert array.flags.c_contiguous
        assert array.offset == HEADER
        if key.endswith("y"):
            assert np.array_equal(array, np.repeat([1, 0], [mergers, others]))


@pytest.mark.parametrize(("record", "rows"), [(SIMSIM, 15_426), (SIMREAL, 6000)])
def test_published_sizes_are_those_of_the_same_form(record, rows):
    for key, file in record.files.items():
        assert file.size == HEADER + rows * (3 * 75 * 75 if key.endswith("x") else 1) * 8


def test_the_entry_agrees_with_the_files(mock_folder):
    entry = json.loads((mock_folder / "record.json").read_text())
    assert entry["mock"] is True
    assert "synthetic" in entry["metadata"]["title"]
    described = {file["key"]: file for file in entry["files"]}
    assert described.keys() == {file.name for record in (SIMSIM, SIMREAL) for file in record.files.values()}
    for name, file in described.items():
        content = (mock_folder / name).read_bytes()
        assert file["size"] == len(content)
        assert file["checksum"] == f"md5:{hashlib.md5(content).hexdigest()}"
        assert file["links"]["self"] == name


@pytest.mark.parametrize("key", ["source/x", "target/x"])
def test_mergers_are_flipped_and_turned_in_blocks(published, key):
    blocks = published(SIMSIM, key)[:MERGERS].reshape(5, -1, 3, 75, 75)
    original = blocks[0]
    assert np.array_equal(blocks[1], original[:, :, ::-1])
    assert np.array_equal(blocks[2], original[:, :, :, ::-1])
    assert np.array_equal(blocks[3], np.rot90(original, axes=(2, 3)))
    assert np.array_equal(blocks[4], original[:, :, ::-1, ::-1])


def test_the_simulated_domains_show_the_same_in_each_row(published):
    products = correlations(published(SIMSIM, "source/x"), published(SIMSIM, "target/x"))
    assert np.diag(products).min() > 0.7
    assert np.array_equal(products.argmax(axis=0), np.arange(len(products)))


def test_the_simulated_target_is_noisier_and_as_bright(published):
    source, target = (published(SIMSIM, key) for key in ("source/x", "target/x"))
    assert source.mean() == pytest.approx(0.04, rel=0.2)
    assert target.mean() == pytest.approx(source.mean(), rel=0.01)
    dark = source < np.median(source)
    assert target[dark].std() > 10 * source[dark].std()


def test_only_mergers_of_the_simulated_to_real_source_have_constant_corners(published):
    def corners(key):
        x = published(SIMREAL, key)
        empty = (x[:, :, [0, 0, -1, -1], [0, -1, 0, -1]] == 0).all(axis=1).any(axis=1)
        return empty[:60].mean(), empty[60:].mean()

    mergers, others = corners("source/x")
    assert mergers > 0.8
    assert others == 0
    assert corners("target/x") == (0, 0)


def test_the_observed_domain_has_eight_bits(published):
    x = published(SIMREAL, "target/x")
    assert np.array_equal(x, x.round())
    assert x.min() >= 0
    assert 150 < x.max() <= 255
    assert x.mean() == pytest.approx(20, abs=6)


def test_some_observed_non_mergers_are_copies(published):
    """Rows 15, 31, ... of the non-mergers; the second of them rounded anew."""
    others = published(SIMREAL, "target/x")[60:].astype(np.int16)
    copies = {}
    for distance in range(1, 60):
        largest = np.abs(others[distance:] - others[:-distance]).max(axis=(1, 2, 3))
        copies |= {int(row) + distance: (distance, largest[row]) for row in np.flatnonzero(largest <= 1)}
    assert sorted(copies) == [15, 31, 47, 59]
    assert [copies[row][1] for row in (15, 31, 47, 59)] == [0, 1, 0, 1]
    assert max(distance for distance, _ in copies.values()) <= 7


def test_the_same_seed_gives_the_same_files(tmp_path):
    checksums = []
    for number, seed in enumerate([3, 3, 4]):
        folder = tmp_path / str(number)
        folder.mkdir()
        write(folder, LEAST_SCALE, seed)
        entry = json.loads((folder / "record.json").read_text())
        checksums.append({file["key"]: file["checksum"] for file in entry["files"] if "_X_" in file["key"]})
    assert checksums[0] == checksums[1]
    assert all(checksums[0][name] != checksum for name, checksum in checksums[2].items())


@pytest.mark.parametrize("scale", [0.0, -1.0, 0.0049, 1.01, float("nan"), float("inf")])
def test_a_scale_out_of_range_is_refused(tmp_path, scale):
    with pytest.raises(ConfigError, match=r"from 0\.005, .* to 1"):
        write(tmp_path, scale, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_seed_out_of_range_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="seed -1"):
        write(tmp_path, 0.01, -1)
