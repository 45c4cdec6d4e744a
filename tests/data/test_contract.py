"""What a pair must give, whoever wrote it."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from datk.base.errors import DataError
from datk.data.contract import check_pair, checked_labels
from datk.interfaces import DomainPair, PairInfo, Samples
from datk_tasks.classification import Classification
from datk_tasks.regression import Regression

ROWS = np.arange(10)
X = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
CLASSES = PairInfo((3,), ("a", "b"), outputs=2)
NUMBERS = PairInfo((3,), outputs=1)


class Given(DomainPair):
    """Gives what it is told to."""

    def __init__(self, config=None, **changes):
        self.source, self.target = Samples(X), Samples(X + 1)
        self.source_labels = ROWS % 2
        self.classes = ("a", "b")
        for name, value in changes.items():
            setattr(self, name, value)

    def answers(self, rows):
        return None


class Liar:
    """Rows of another kind than it says."""

    shape, dtype = (10, 3), np.dtype("uint8")

    def __init__(self, give):
        self.give = give

    def __getitem__(self, rows):
        return self.give(X[rows])


def source(**changes):
    return {"source": replace(Samples(X), **changes)}


def held(kind):
    return np.zeros((10, 3), dtype=kind)


def test_what_pairs_may_give():
    check_pair(Given())
    for dtype in ("?", "i1", "u8", "f2", ">f4", "f8"):
        check_pair(Given(**source(x=X.astype(dtype)), target=Samples(X)))
    for dtype in ("i1", "u4", "i8", ">i8"):
        check_pair(Given(**source(groups=ROWS.astype(dtype))))
    check_pair(Given(**source(groups=-ROWS, test=ROWS > 7, domain=ROWS % 2), sources=["a", "b"]))
    check_pair(Given(classes=np.array(["a", "b"]), notes=["read by hand"], shared_groups=np.False_))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": None}, r"has no source; set it in __init__"),
        ({"source_labels": None}, r"has no source_labels"),
        ({"source": X}, r"source must be Samples, not ndarray"),
        ({"source_labels": [0, 1] * 5}, r"source_labels must be a NumPy array, not list"),
        ({"source_labels": np.ma.masked_equal(ROWS % 2, 1)}, r"source_labels must be .*not MaskedArray"),
        (source(x=X.tolist()), r"source\.x must be an array as NumPy's, not list"),
        (source(x=torch.zeros(10, 3)), r"source\.x must be an array as NumPy's, not Tensor"),
        (source(x=np.ma.masked_array(X)), r"source\.x is a masked array"),
        (source(x=held(complex)), r"source\.x holds complex numbers \(complex128\); give real numbers"),
        (source(x=held(object)), r"source\.x holds Python objects \(object\)"),
        (source(x=held("M8[s]")), r"source\.x holds datetime64\[s\]"),
        (source(x=held("m8[s]")), r"source\.x holds timedelta64\[s\]"),
        (source(x=held("U3")), r"source\.x holds strings"),
        (source(x=held("S3")), r"source\.x holds bytes"),
        (source(x=held([("g", "f4"), ("r", "f4")])), r"source\.x holds records"),
        (source(x=Liar(lambda x: x)), r"source\.x says that it holds uint8, but its rows are float32"),
        (source(x=Liar(lambda x: x[:, :2].astype("u1"))), r"rows\] gives shape \[1, 2\] for one row"),
        (source(x=Liar(lambda x: x[0])), r"rows\] gives shape \[3\] for one row, not \[1, 3\]"),
        (source(x=Liar(torch.tensor)), r"source\.x\[rows\] gives Tensor, not a NumPy array"),
        (source(in_memory=None), r"source\.in_memory must be True or False"),
        (source(test=ROWS % 2), r"source\.test must be booleans.*not int64; give test\.astype\(bool\)"),
        (source(test=(ROWS % 2) * 1.0), r"source\.test must be booleans.*float64; give test\.astype"),
        (source(test=ROWS), r"source\.test must be booleans.*not int64; give True for each test row"),
        (source(test=np.array(["yes"] * 10)), r"source\.test must be booleans.*strings"),
        (source(test=[True] * 10), r"source\.test must be a NumPy array, not list"),
        (source(test=ROWS[:3] > 1), r"source: 10 samples but test of shape \[3\]"),
        (source(groups=ROWS.astype("U")), r"source\.groups must be whole.*strings .*return_inverse"),
        (source(groups=ROWS.astype(object)), r"source\.groups must be whole.*Python objects"),
        (source(groups=ROWS * 1.0), r"groups must be whole.*float64; give groups\.astype\(numpy\.int64"),
        (source(groups=np.where(ROWS, np.nan, 1)), r"groups must be whole.*float64; number them"),
        (source(groups=ROWS + 0.5), r"groups must be whole.*float64; number them"),
        (source(groups=ROWS.astype("u8")), r"groups must be whole.*uint64; give groups\.astype"),
        (source(groups=ROWS.astype("u8") - 1), r"groups must be whole.*uint64; number them"),
        (source(groups=ROWS > 5), r"groups must be whole numbers \(int64\), not bool"),
        (source(groups=ROWS.astype("M8[s]")), r"groups must be whole.*datetime64"),
        (source(groups=ROWS[:, None]), r"10 samples but groups of shape \[10, 1\]"),
        (source(domain=ROWS % 2), r"domain must hold each of the whole numbers 0\.\.0"),
        ({"classes": ("a", "a")}, r"classes names 'a' twice: 'a', 'a'"),
        ({"classes": (0, 1)}, r"classes must be strings, not int \(0\); give tuple\(map\(str, classes\)\)"),
        ({"classes": np.arange(2)}, r"classes must be strings, not int64"),
        ({"classes": "ab"}, r"classes must be a tuple of strings, not str"),
        ({"classes": ("a", " ")}, r"classes holds an empty name"),
        ({"classes": None}, r"classes must be a tuple of strings, not NoneType"),
        ({"classes": {"a": 0, "b": 1}}, r"classes must be a tuple of strings, not dict"),
        ({"targets": ("z", "z")}, r"targets names 'z' twice"),
        ({"sources": ()}, r"sources is empty"),
        ({"sources": "HST"}, r"sources must be a tuple of strings"),
        ({"notes": "synthetic"}, r"notes must be a tuple of strings, not str"),
        ({"notes": (None,)}, r"notes must be strings, not NoneType"),
        ({"shared_groups": "no"}, r"shared_groups must be True or False, not 'no'"),
    ],
)
def test_what_is_no_pair_is_told_with_its_name(changes, message):
    with pytest.raises(DataError, match=message) as caught:
        check_pair(Given(**changes))
    assert "\n" not in str(caught.value)
    if "domain must hold" not in message:
        assert "pair 'Given'" in str(caught.value)


def labels(values, *, info=CLASSES, task=Classification, domain="source"):
    return checked_labels(values, 10, task(task.Config()), info, Given(), domain)


@pytest.mark.parametrize("dtype", ["i1", "u1", "u8", ">i8", "i8"])
def test_class_numbers_are_brought_to_one_type(dtype):
    found = labels((ROWS % 2).astype(dtype))
    assert found.dtype == np.int64
    assert found.dtype.isnative
    assert found.tolist() == (ROWS % 2).tolist()


def test_numbers_keep_their_precision():
    for dtype in ("f4", ">f8"):
        found = labels(ROWS.astype(dtype), info=NUMBERS, task=Regression)
        assert found.dtype == np.dtype(dtype).newbyteorder("=")
        torch.from_numpy(found)


BAD_LABELS = [
    (ROWS % 2 + 0.5, r"labels must be class numbers \[N\], not float64"),
    (np.where(ROWS, 1, np.nan), r"labels must be class numbers \[N\], not float64"),
    (ROWS % 3, r"labels must lie in 0\.\.1"),
    (ROWS % 2 - 2, r"labels must lie in 0\.\.1"),
    (np.full(10, "a"), r"of strings"),
    ((ROWS % 2).astype(object), r"of Python objects"),
    (ROWS * 1j, r"of complex numbers"),
    (ROWS.astype("M8[s]"), r"of datetime64"),
    (np.zeros(10, [("a", "i8")]), r"of records"),
    (ROWS[:4] % 2, r"10 \w+ but labels of shape \[4\]"),
    (np.array(1), r"10 \w+ but labels of shape \[\]"),
    (ROWS[:, None] % 2, r"of shape \[10, 1\]"),
]


@pytest.mark.parametrize(("values", "message"), BAD_LABELS)
@pytest.mark.parametrize("domain", ["source", "target"])
def test_labels_and_answers_are_checked_alike(values, message, domain):
    with pytest.raises(DataError, match=message) as caught:
        labels(values, domain=domain)
    for words in (f"{domain}: ", "pair 'Given'", "source_labels" if domain == "source" else "answers"):
        assert words in str(caught.value)


def test_answers_that_are_no_array():
    with pytest.raises(DataError, match=r"answers as list, which is no array"):
        labels([[1], [1, 2]], domain="target")
    with pytest.raises(DataError, match=r"answers as a masked array"):
        labels(np.ma.masked_equal(ROWS % 2, 0), domain="target")


def test_a_dataset_of_hdf5_must_be_whole(tmp_path):
    layout = h5py.VirtualLayout(shape=X.shape, dtype=X.dtype)
    layout[:] = h5py.VirtualSource("gone.h5", "x", shape=X.shape)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_virtual_dataset("x", layout)
        file["plain"] = X
        check_pair(Given(**source(x=file["plain"])))
        with pytest.raises(
            DataError, match=r"pair 'Given': source\.x is a virtual dataset of 'x' in gone\.h5"
        ):
            check_pair(Given(**source(x=file["x"])))
