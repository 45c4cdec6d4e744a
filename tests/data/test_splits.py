"""Splits: complete, disjoint, by object, reproducible, near the shares that were asked for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datk.base.errors import ConfigError, DataError
from datk.config.resolve import resolve
from datk.data.splits import PARTS, numbered, split_pair
from datk.interfaces import Samples

SHARES = (0.7, 0.1, 0.2)


def samples(rows, groups=None, test=None):
    return Samples(np.zeros((rows, 1), dtype=np.float32), groups, test)


def parts(split):
    return [getattr(split, part) for part in PARTS]


def check_whole(split, rows):
    """Every row is in exactly one part, and the rows of a part are in order."""
    np.testing.assert_array_equal(np.sort(np.concatenate(parts(split))), np.arange(rows))
    for part in parts(split):
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()


def groups_in(split, groups):
    return [set(groups[part].tolist()) for part in parts(split)]


def apart(sets):
    return not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])


rows_in_objects = st.lists(st.integers(1, 4), min_size=30, max_size=200)


@pytest.mark.parametrize("rule", ["stratified", "grouped"])
@given(rows_in_objects, rows_in_objects, st.integers(0, 2**40), st.booleans(), st.randoms())
def test_objects_stay_together_in_both_domains(rule, of_source, of_target, seed, shared, random):
    source_groups = np.repeat(np.arange(len(of_source)), of_source)
    target_groups = np.repeat(np.arange(len(of_target)), of_target)
    for groups in (source_groups, target_groups):
        random.shuffle(groups)
    source, target = samples(len(source_groups), source_groups), samples(len(target_groups), target_groups)
    splits = split_pair(source, target, shared, SHARES, seed, rule)

    check_whole(splits.source, len(source_groups))
    check_whole(splits.target, len(target_groups))
    in_source, in_target = groups_in(splits.source, source_groups), groups_in(splits.target, target_groups)
    assert apart(in_source)
    assert apart(in_target)
    if shared:
        assert apart([a | b for a, b in zip(in_source, in_target, strict=True)])
    assert splits.rule == "grouped"


@pytest.mark.parametrize("rule", ["stratified", "grouped"])
@given(rows_in_objects, rows_in_objects, st.integers(0, 2**40))
def test_shares_of_many_small_objects_are_near(rule, of_source, of_target, seed):
    source_groups = np.repeat(np.arange(len(of_source)), of_source)
    target_groups = np.repeat(np.arange(len(of_target)), of_target)
    source, target = samples(len(source_groups), source_groups), samples(len(target_groups), target_groups)

    alone = split_pair(source, target, False, SHARES, seed, rule)
    for split, groups in ((alone.source, source_groups), (alone.target, target_groups)):
        ends = np.cumsum([len(part) for part in parts(split)]) / len(groups)
        np.testing.assert_allclose(ends, np.cumsum(SHARES), atol=5 / len(groups))

    together = split_pair(source, target, True, SHARES, seed, rule)
    sizes = [len(a) + len(b) for a, b in zip(parts(together.source), parts(together.target), strict=True)]
    np.testing.assert_allclose(np.cumsum(sizes) / sum(sizes), np.cumsum(SHARES), atol=9 / sum(sizes))


@pytest.mark.parametrize("rule", ["stratified", "grouped"])
@pytest.mark.parametrize("rows", [5, 10, 60, 1000])
def test_shares_without_groups_are_exact(rows, rule):
    split = split_pair(samples(rows), samples(1000), False, SHARES, 0, rule).source
    train, validation, _ = (len(part) for part in parts(split))
    assert (train, train + validation) == (int(0.7 * rows), int(0.8 * rows))


def test_runs_of_earlier_versions_keep_their_splits():
    """Rows that they dealt at random, and objects."""
    rows = split_pair(samples(12), samples(9), False, SHARES, 3, "grouped")
    objects = split_pair(
        samples(12, np.arange(12) // 2), samples(9, np.arange(9)), True, SHARES, 3, "grouped"
    )
    found = [part.tolist() for splits in (rows, objects) for part in parts(splits.source)[1:]]
    assert found == [[10, 11], [0, 9], [8, 9], [0, 1]]


def test_the_seed_decides():
    def train(seed):
        return split_pair(samples(100), samples(70), False, SHARES, seed).source.train

    np.testing.assert_array_equal(train(3), train(3))
    assert not np.array_equal(train(3), train(4))


def test_a_domain_is_split_alike_whatever_the_other_is():
    with_small = split_pair(samples(100), samples(20), False, SHARES, 0)
    with_large = split_pair(samples(100), samples(5000), False, SHARES, 0)
    np.testing.assert_array_equal(with_small.source.train, with_large.source.train)
    assert set(with_small.source.train) != set(
        split_pair(samples(10), samples(100), False, SHARES, 0).target.train
    )


def test_the_two_domains_are_shuffled_differently():
    splits = split_pair(samples(100), samples(100), False, SHARES, 0)
    assert not np.array_equal(splits.source.train, splits.target.train)


def test_fixed_test_rows():
    test = np.arange(90) % 3 == 0
    splits = split_pair(samples(90, test=test), samples(50), False, SHARES, 0)
    check_whole(splits.source, 90)
    np.testing.assert_array_equal(splits.source.test, np.flatnonzero(test))
    assert len(splits.source.train) == int(60 * 7 / 8)
    assert len(splits.target.train) == 35
    assert splits.rule == "random+fixed-test"


def test_fixed_test_rows_of_shared_objects_hold_in_both_domains():
    groups = np.arange(120) // 2
    test = groups < 15
    splits = split_pair(samples(120, groups, test), samples(60, groups[:60]), True, SHARES, 0)
    np.testing.assert_array_equal(splits.source.test, np.flatnonzero(test))
    np.testing.assert_array_equal(splits.target.test, np.flatnonzero(groups[:60] < 15))
    assert splits.rule == "grouped+fixed-test"


def test_an_object_in_two_parts_is_refused():
    groups = np.arange(60) // 3
    test = np.arange(60) < 10
    with pytest.raises(DataError, match=r"1 group is in two splits .*source_test.* first is group 3;"):
        split_pair(samples(60, groups, test), samples(60), False, SHARES, 0)


def test_an_object_tested_in_one_domain_and_trained_in_the_other_is_refused():
    groups = np.arange(60)
    source, target = samples(60, groups, groups < 10), samples(60, groups, groups < 12)
    with pytest.raises(DataError, match=r"2 groups are in two splits .*source_test and target_test"):
        split_pair(source, target, True, SHARES, 0)


@pytest.mark.parametrize("rule", ["stratified", "grouped"])
@given(st.lists(st.integers(1, 1000), min_size=3, max_size=12), st.integers(0, 1000))
def test_few_large_objects_fill_every_part(rule, sizes, seed):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    split = split_pair(samples(len(groups), groups), samples(100), False, SHARES, seed, rule).source
    check_whole(split, len(groups))
    assert apart(groups_in(split, groups))
    assert all(len(part) for part in parts(split))


def test_all_rows_in_the_test_split_are_refused():
    with pytest.raises(DataError, match=r"the train split of the source is empty"):
        split_pair(samples(9, test=np.ones(9, dtype=bool)), samples(100), False, SHARES, 0)


@pytest.mark.parametrize("rows", [1, 2])
def test_an_empty_part_is_refused(rows):
    with pytest.raises(DataError, match=f"split of the target is empty: {rows} rows"):
        split_pair(samples(100), samples(rows), False, SHARES, 0)


@given(st.integers(20, 3000), st.integers(20, 3000), st.integers(0, 2**40))
def test_the_papers_split_deals_single_images_and_cuts_where_it_cuts(of_source, of_target, seed):
    groups = np.zeros(of_source, dtype=np.int64)
    splits = split_pair(samples(of_source, groups), samples(of_target), False, SHARES, seed, "paper")
    for split, rows in ((splits.source, of_source), (splits.target, of_target)):
        check_whole(split, rows)
        sizes = [len(part) for part in parts(split)]
        assert sizes == [rows * 7 // 10, rows * 8 // 10 - rows * 7 // 10, rows - rows * 8 // 10]
    assert splits.rule == "paper"


def test_the_papers_split_has_the_papers_sizes_and_says_what_it_does():
    groups = np.arange(15426) // 20
    both = samples(15426, groups)
    splits = split_pair(both, both, True, SHARES, 1, "paper")
    assert [len(part) for part in parts(splits.source)] == [10798, 1542, 3086]
    assert not np.array_equal(splits.source.test, splits.target.test)
    (note,) = splits.notes
    assert note.startswith("100% of the source's and 100% of the target's test rows show an object")
    assert split_pair(both, both, True, SHARES, 1).notes == ()


def test_the_share_of_copies_in_the_papers_split_is_counted():
    rows = 4000
    splits = split_pair(samples(rows, np.arange(rows) // 2), samples(rows), False, SHARES, 0, "paper")
    pairs = np.arange(rows) // 2
    expected = np.isin(pairs[splits.source.test], pairs[splits.source.train]).mean()
    assert 0.65 < expected < 0.75
    assert splits.notes[0].startswith(f"{expected:.0%} of the source's and 0% of the target's")


def test_the_papers_split_of_ungrouped_rows_warns_all_the_same():
    (note,) = split_pair(samples(50), samples(50), False, SHARES, 0, "paper").notes
    assert "views of one object may be on both sides" in note


def test_the_papers_split_refuses_fixed_test_rows():
    fixed = samples(50, test=np.arange(50) < 10)
    with pytest.raises(ConfigError, match="split=paper deals all rows anew"):
        split_pair(fixed, samples(50), False, SHARES, 0, "paper")


def test_the_papers_split_of_next_to_nothing_is_refused():
    with pytest.raises(DataError, match="the validation split of the target is empty: 3 rows"):
        split_pair(samples(50), samples(3), False, SHARES, 0, "paper")


# --- numbers -------------------------------------------------------------------------------------------


def test_rows_that_components_see_are_numbered_at_random():
    split = split_pair(samples(400), samples(400), False, SHARES, 0).target
    drawn = numbered(split, 0, "target")
    for part in ("train", "validation"):
        before, after = getattr(split, part), getattr(drawn, part)
        np.testing.assert_array_equal(np.sort(after), before)
        correlation = np.corrcoef(np.arange(len(after)), after)[0, 1]
        assert abs(correlation) < 3 / len(after) ** 0.5
    np.testing.assert_array_equal(drawn.test, split.test)


def test_numbers_are_drawn_from_the_seed_for_each_domain():
    split = split_pair(samples(100), samples(100), False, SHARES, 0).target
    drawn = [numbered(split, *names) for names in ((0, "target"), (1, "target"), (0, "source"))]
    for part in ("train", "validation"):
        assert len({getattr(each, part).tobytes() for each in drawn}) == 3
        np.testing.assert_array_equal(getattr(numbered(split, 0, "target"), part), getattr(drawn[0], part))


def frdeep(folder, **options):
    """FIRST and NVSS images of the same radio galaxies, as a user would name them."""
    file = str(folder / "radio_frdeep" / "frdeep.npz")
    named = {"source_x": "x_first", "source_y": "y_first", "target_x": "x_nvss", "target_y": "y_nvss"}
    config = {"pair": {"name": "arrays", "source": file, "target": file, **named, **options}}
    chosen = resolve(config=config).pair
    return chosen.cls(chosen.config)


@pytest.mark.parametrize(("first", "nvss"), [("group_first", "group_nvss"), ("id_first", "id_nvss")])
def test_real_surveys_of_the_same_objects_are_split_jointly(real_data, first, nvss):
    pair = frdeep(real_data, source_group=first, target_group=nvss, shared_groups=True)
    splits = split_pair(pair.source, pair.target, pair.shared_groups, SHARES, 0)
    ids = np.load(real_data / "radio_frdeep" / "frdeep.npz")
    check_whole(splits.source, 600)
    check_whole(splits.target, 600)
    in_source, in_target = groups_in(splits.source, ids["id_first"]), groups_in(splits.target, ids["id_nvss"])
    assert apart([a | b for a, b in zip(in_source, in_target, strict=True)])
    assert len(in_source[0] & in_target[0]) > 200
    assert splits.rule == "grouped"


@pytest.mark.parametrize(("first", "nvss"), [("group_first", "group_nvss"), ("id_first", "id_nvss")])
def test_real_test_batches_that_share_objects_are_refused(real_data, first, nvss):
    pair = frdeep(
        real_data,
        source_group=first,
        target_group=nvss,
        shared_groups=True,
        source_test="is_test_first",
        target_test="is_test_nvss",
    )
    with pytest.raises(DataError, match=r"groups are in two splits because of the fixed test rows"):
        split_pair(pair.source, pair.target, pair.shared_groups, SHARES, 0)
