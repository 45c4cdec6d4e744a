"""Stratified splits: every class and domain near its shares, by object, and notes where that cannot be."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from datk.base.errors import ConfigError, DataError
from datk.data.splits import PARTS, split_pair
from datk.interfaces import Samples

SHARES = (0.7, 0.1, 0.2)
TARGET = Samples(np.zeros((50, 1), dtype=np.float32))


def samples(rows, groups=None, test=None, domain=None):
    return Samples(np.zeros((rows, 1), dtype=np.float32), groups, test, domain=domain)


def stratified(labels, groups=None, seed=0, test=None, domain=None, target=TARGET, shared=False, **options):
    labels = np.asarray(labels)
    source = samples(len(labels), None if groups is None else np.asarray(groups), test, domain)
    return split_pair(source, target, shared, SHARES, seed, "stratified", labels, **options)


def parts(split):
    return [getattr(split, part) for part in PARTS]


def of_class(split, labels, number):
    return [int((np.asarray(labels)[rows] == number).sum()) for rows in parts(split)]


def check_whole(split, rows, groups=None):
    np.testing.assert_array_equal(np.sort(np.concatenate(parts(split))), np.arange(rows))
    if groups is not None:
        train, validation, test = (set(np.asarray(groups)[part].tolist()) for part in parts(split))
        assert train.isdisjoint(validation | test)
        assert validation.isdisjoint(test)


# --- classes -------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 60), min_size=2, max_size=8), st.integers(0, 2**40), st.randoms())
def test_every_class_of_single_rows_reaches_its_shares(sizes, seed, random):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    random.shuffle(labels)
    assume(len(labels) >= 3)
    split = stratified(labels, seed=seed).source
    check_whole(split, len(labels))
    for number, size in enumerate(sizes):
        found = of_class(split, labels, number)
        if size >= 3:
            assert min(found) >= 1
        np.testing.assert_allclose(found, np.array(SHARES) * size, atol=1.5)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("labels", [[0, 1, 1], [0, 1, 2], [0, 0, 1, 2], [0, 1, 2, 3, 4]])
def test_no_part_is_empty_for_the_sake_of_classes(labels, seed):
    split = stratified(labels, seed=seed).source
    check_whole(split, len(labels))
    assert min(len(part) for part in parts(split)) >= 1


@pytest.mark.parametrize("seed", range(5))
def test_few_positives_are_in_every_part(seed):
    labels = (np.arange(500) % 83 == 7).astype(int)
    splits = stratified(labels, seed=seed)
    assert of_class(splits.source, labels, 1) == [4, 1, 1]
    assert [len(part) for part in parts(splits.source)] == [350, 50, 100]
    assert (splits.rule, splits.notes) == ("stratified", ())


@pytest.mark.parametrize(
    ("rows", "expected"), [(1, [1, 0, 0]), (2, [1, 1, 0]), (3, [1, 1, 1]), (4, [2, 1, 1])]
)
@pytest.mark.parametrize("per_object", [1, 3])
def test_the_rarest_class_is_trained_on_then_validated_then_tested(rows, expected, per_object):
    labels = np.repeat([0] * 60 + [1] * rows, per_object)
    groups = np.repeat(np.arange(60 + rows), per_object)
    splits = stratified(labels, groups, classes=("common", "rare"))
    assert of_class(splits.source, labels, 1) == [per_object * number for number in expected]
    told = [note for note in splits.notes if "'rare'" in note]
    assert [note.split()[1] for note in told] == [p for p, n in zip(PARTS, expected, strict=True) if not n]
    counted = "1 row" if rows * per_object == 1 else f"{rows * per_object} rows"
    assert all(f"has no rows of class 'rare' ({counted})" in note for note in told)


def test_many_classes_that_are_lacking_are_counted():
    labels = np.concatenate([np.zeros(60, int), np.arange(1, 9)])
    notes = stratified(labels, classes=[f"type {number}" for number in range(9)]).notes
    assert len(notes) == 2
    assert all("'type 1' (1 row), 'type 2' (1 row), 'type 3' (1 row) and 5 more" in note for note in notes)


def test_small_classes_do_not_shift_the_shares_of_all_rows():
    """Every single class of eight would be rounded to 6, 1 and 1."""
    splits = stratified(np.repeat(np.arange(100), 8))
    train, validation, test = (len(part) for part in parts(splits.source))
    assert 530 <= train <= 590
    assert 70 <= validation <= 100
    assert 140 <= test <= 180


# --- objects -------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 2)), min_size=30, max_size=80),
    st.integers(0, 2**40),
    st.booleans(),
)
def test_objects_of_any_size_stay_whole_and_classes_reach_their_shares(objects, seed, mixed):
    sizes, classes = np.array(objects).T
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.arange(len(groups)) % 3 if mixed else np.repeat(classes, sizes)
    splits = stratified(labels, groups, seed)
    check_whole(splits.source, len(labels), groups)
    assert splits.rule == "grouped+stratified"
    for number in np.unique(labels):
        of = labels[np.flatnonzero(labels == number)]
        found = of_class(splits.source, labels, number)
        holders = np.unique(groups[labels == number])
        largest = np.bincount(groups[labels == number]).max()
        if len(holders) >= 3 and not mixed:
            assert min(found) >= 1
        np.testing.assert_allclose(found, np.array(SHARES) * len(of), atol=1.5 * largest + 1)


@pytest.mark.parametrize("seed", range(5))
def test_a_large_object_goes_to_training_and_the_shares_that_came_out_are_told(seed):
    groups = np.concatenate([np.full(990, 77), np.arange(10)])
    splits = stratified(np.arange(1000) % 2, groups, seed)
    assert len(splits.source.train) >= 990
    assert 77 in groups[splits.source.train]
    (note,) = splits.notes
    assert note.startswith("the source's rows are divided 99")
    assert note.endswith("70 / 10 / 20 % were asked for: its largest object has 99.0% of them")
    for number in (0, 1):
        assert min(of_class(splits.source, np.arange(1000) % 2, number)) >= 1


def test_large_objects_of_the_target_are_dealt_first_too():
    groups = np.concatenate([np.repeat(np.arange(7), 100), np.arange(7, 307)])
    for seed in range(5):
        split = stratified([0, 1] * 30, target=samples(1000, groups), seed=seed).target
        np.testing.assert_allclose([len(part) for part in parts(split)], [700, 100, 200], atol=60)


def test_objects_of_nearly_one_size_are_drawn_from_the_seed():
    sizes = np.arange(50, 62)
    groups, labels = np.repeat(np.arange(12), sizes), np.arange(sizes.sum()) % 2
    tested = {tuple(np.unique(groups[stratified(labels, groups, seed).source.test])) for seed in range(20)}
    assert len(tested) > 8
    assert len(set().union(*tested)) > 9


def test_the_split_does_not_depend_on_the_order_of_the_rows_of_objects():
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), random.integers(1, 9, 60))
    labels = (groups * 7 % 5 == 0).astype(int)
    order = random.permutation(len(groups))
    straight, shuffled = stratified(labels, groups), stratified(labels[order], groups[order])
    for before, after in zip(parts(straight.source), parts(shuffled.source), strict=True):
        assert set(groups[before]) == set(groups[order][after])


# --- both domains --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_targets_rows_of_shared_objects_follow_the_source(seed):
    groups = np.arange(200) // 2
    labels = (groups < 6).astype(int)
    target = samples(130, np.concatenate([np.arange(50), np.arange(150, 230)]))
    splits = stratified(labels, groups, seed, target=target, shared=True)
    check_whole(splits.source, 200, groups)
    for of_source, of_target in zip(parts(splits.source), parts(splits.target), strict=True):
        common = np.intersect1d(target.groups[of_target], groups)
        assert set(common) <= set(groups[of_source])
    assert of_class(splits.source, labels, 1) == [8, 2, 2]
    np.testing.assert_allclose([len(part) for part in parts(splits.target)], [91, 13, 26], atol=6)


def test_the_target_is_dealt_alike_whatever_the_sources_labels_are():
    targets = [
        stratified(labels, target=samples(90)).target
        for labels in (np.arange(60) % 2, np.arange(60) % 7 // 5)
    ]
    for one, other in zip(*map(parts, targets), strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_class_of_each_of_several_sources_reaches_its_shares():
    domain = np.repeat([0, 1, 2], [100, 40, 20])
    labels = np.arange(160) % 2
    split = stratified(labels, domain=domain).source
    for number, rows in enumerate((100, 40, 20)):
        for label in (0, 1):
            found = [((domain[part] == number) & (labels[part] == label)).sum() for part in parts(split)]
            np.testing.assert_allclose(found, np.array(SHARES) * rows / 2, atol=1)


def test_a_small_source_is_in_every_part():
    domain = np.repeat([0, 1], [97, 3])
    split = stratified(np.arange(100) % 2, domain=domain).source
    assert [int((domain[part] == 1).sum()) for part in parts(split)] == [1, 1, 1]


def test_fixed_test_rows_stay_and_what_they_lack_is_told():
    labels = np.repeat([0, 1, 2], [80, 16, 4])
    test = np.arange(100) % 5 == 0
    test[96:] = False
    splits = stratified(labels, test=test, classes=("a", "b", "c"))
    np.testing.assert_array_equal(splits.source.test, np.flatnonzero(test))
    assert of_class(splits.source, labels, 2) == [3, 1, 0]
    assert of_class(splits.source, labels, 0)[:2] == [56, 8]
    assert splits.rule == "stratified+fixed-test"
    told = next(note for note in splits.notes if "class" in note)
    assert told.startswith("the test split of the source has no rows of class 'c' (4 rows)")


def test_numbers_are_not_stratified():
    splits = split_pair(samples(100), TARGET, False, SHARES, 0, "stratified", None)
    assert (splits.rule, [len(part) for part in parts(splits.source)]) == ("random", [70, 10, 20])
    grouped = split_pair(samples(100, np.arange(100) // 4), TARGET, False, SHARES, 0, "stratified", None)
    assert grouped.rule == "grouped"


@pytest.mark.parametrize("rule", ["grouped", "paper"])
def test_other_rules_do_not_look_at_labels_but_tell_what_is_lacking(rule):
    labels = np.arange(60) // 59
    before, after = (
        split_pair(samples(60), TARGET, False, SHARES, 0, rule, given, "split", ("many", "one"))
        for given in (None, labels)
    )
    for one, other in zip(parts(before.source), parts(after.source), strict=True):
        np.testing.assert_array_equal(one, other)
    lacking = [note for note in after.notes if "has no rows of class 'one' (1 row)" in note]
    assert len(lacking) == 2


def test_too_little_for_three_parts_is_refused():
    with pytest.raises(DataError, match="the test split of the source is empty: 4 rows in 2 objects"):
        stratified([0, 1, 0, 1], [0, 0, 1, 1])


# --- all target rows -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["stratified", "grouped", "paper"])
def test_all_target_rows_are_in_every_part(rule):
    labels = np.arange(60) % 2
    splits = split_pair(samples(60), samples(7), False, SHARES, 0, rule, labels, "all")
    for part in parts(splits.target):
        np.testing.assert_array_equal(part, np.arange(7))
    usual = split_pair(samples(60), samples(70), False, SHARES, 0, rule, labels)
    for one, other in zip(parts(splits.source), parts(usual.source), strict=True):
        np.testing.assert_array_equal(one, other)
    assert splits.rule == f"{usual.rule}+all-target-rows"
    assert any(
        note.startswith("all 7 target rows were trained on, without labels, and") for note in splits.notes
    )


def test_all_target_rows_of_shared_objects_are_told_to_have_labelled_twins():
    splits = stratified(
        [0, 1] * 50, np.arange(100), target=samples(50, np.arange(50)), shared=True, target_rows="all"
    )
    twins = np.isin(np.arange(50), splits.source.train).mean()
    tested = (splits.source.test < 50).mean()
    assert 0.5 < twins < 0.9
    (note,) = (
        note for note in splits.notes if "labels, and" in note and "twins" not in note and "object" in note
    )
    assert note.startswith(
        f"{twins:.0%} of the target's rows show an object whose source rows were trained on"
    )
    assert f"and {tested:.0%} of the source's test rows" in note


def test_all_target_rows_and_fixed_test_rows_contradict_each_other():
    with pytest.raises(ConfigError, match=r"data\.target_rows=all scores all .* but the pair fixes those"):
        stratified([0, 1] * 30, target=samples(50, test=np.arange(50) < 9), target_rows="all")
    splits = stratified([0, 1] * 30, test=np.arange(60) < 12, target_rows="all")
    assert splits.rule == "stratified+fixed-test+all-target-rows"
