"""Rows on the device, resident or streamed."""

import threading

import numpy as np
import pytest
import torch

from datk.data import rows as module
from datk.data.rows import ResidentRows, StreamedRows, chunks, open_rows, storable
from datk.interfaces import Samples

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("stored", "held"),
    [
        (np.uint8, torch.uint8),
        (np.bool_, torch.uint8),
        (np.float16, torch.float16),
        (np.float32, torch.float32),
        (np.float64, torch.float32),
        (np.int64, torch.float32),
        (">f4", torch.float32),
    ],
)
def test_resident_and_streamed_rows_are_the_same(stored, held):
    x = np.random.default_rng(0).integers(0, 2, (30, 3, 4, 5)).astype(stored)
    plan = torch.tensor([[3, 1, 3, 29], [0, 0, 0, 7]])
    on_disk = Samples(x, in_memory=False)
    resident, streamed = open_rows(on_disk, CPU, 1.0), open_rows(on_disk, CPU, 1e-9)
    assert isinstance(resident, ResidentRows)
    assert isinstance(streamed, StreamedRows)
    for here, there, rows in zip(resident.batches(plan), streamed.batches(plan), plan, strict=True):
        assert here.dtype == there.dtype == held
        assert torch.equal(here, there)
        assert here.stride() == there.stride() == (60, 20, 5, 1)
        np.testing.assert_array_equal(here.numpy(), x[rows.numpy()].astype(here.numpy().dtype))


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("memory_gb", [1.0, 1e-9])
def test_any_order_in_memory_is_made_contiguous(in_memory, memory_gb):
    channels_last = np.random.default_rng(0).normal(size=(9, 4, 5, 3)).astype(np.float32)
    x = np.flip(np.moveaxis(channels_last, -1, 1), axis=2)
    rows = open_rows(Samples(x, in_memory=in_memory), CPU, memory_gb)
    (batch,) = rows.batches(torch.arange(9)[None])
    assert batch.is_contiguous()
    np.testing.assert_array_equal(batch.numpy(), x)


def test_rows_in_memory_are_shared_not_copied():
    x = np.zeros((5, 2), dtype=np.float32)
    rows = open_rows(Samples(x), CPU, 1e-9)
    assert isinstance(rows, ResidentRows)
    assert rows.x.data_ptr() == x.ctypes.data


def test_batches_never_alias_the_data():
    x = np.ones((5, 2), dtype=np.float32)
    (batch,) = open_rows(Samples(x), CPU, None).batches(torch.arange(5)[None])
    batch.zero_()
    assert (x == 1).all()


@pytest.mark.parametrize("in_memory", [True, False])
def test_what_a_reader_makes_is_the_same_wherever_the_rows_are(in_memory, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_BYTES", 8 * 3 * 4 * 5 * 4)
    x = np.moveaxis(np.random.default_rng(0).integers(0, 9, (30, 4, 5, 3)), -1, 1)
    seen = []

    def read(values, rows):
        seen.append(len(rows))
        np.testing.assert_array_equal(values, x[rows])
        return np.require(values + 0.5 * rows[:, None, None, None], np.float32, ["C", "W"])

    plan = torch.tensor([[3, 1, 3, 29], [0, 0, 0, 7]])
    samples = Samples(x, in_memory=in_memory)
    resident, streamed = open_rows(samples, CPU, 1.0, read), open_rows(samples, CPU, 1e-9, read)
    assert isinstance(resident, ResidentRows)
    assert max(seen) == 4, "rows are made in pieces"
    assert isinstance(streamed, StreamedRows)
    for here, there, rows in zip(resident.batches(plan), streamed.batches(plan), plan, strict=True):
        assert here.dtype == torch.float32
        assert torch.equal(here, there)
        assert here.is_contiguous()
        assert there.is_contiguous()
        np.testing.assert_array_equal(here, x[rows] + 0.5 * rows.numpy()[:, None, None, None])


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_pieces_are_bounded_whatever_the_type(dtype, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_BYTES", 8 * 100)
    x = np.arange(95).reshape(19, 5).astype(dtype)
    pieces = list(chunks(x))
    assert [start for start, _ in pieces] == [0]
    monkeypatch.setattr(module, "CHUNK_BYTES", 8 * 20)
    pieces = list(chunks(x))
    assert max(piece.size for _, piece in pieces) == 20
    np.testing.assert_array_equal(np.concatenate([piece for _, piece in pieces]), x)
    some = np.array([1, 2, 5, 6, 7, 18])
    np.testing.assert_array_equal(np.concatenate([piece for _, piece in chunks(x, some)]), x[some])


def test_a_row_larger_than_a_piece_is_a_piece(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_BYTES", 1)
    assert [len(piece) for _, piece in chunks(np.zeros((3, 5)))] == [1, 1, 1]


def test_what_is_stored_can_be_written_to():
    fixed = np.ones(3, dtype=np.float32)
    fixed.flags.writeable = False
    assert storable(fixed).flags.writeable


class Damaged:
    """Rows that cannot be read from a certain one on."""

    shape, dtype = (100, 3), np.dtype("float32")

    def __getitem__(self, rows):
        if np.max(rows) >= 50:
            raise OSError("the disk is on fire")
        return np.zeros((len(rows), 3), dtype=np.float32)


def test_a_failure_to_read_reaches_the_caller_and_leaves_no_thread():
    before = threading.active_count()
    rows = StreamedRows(Damaged(), CPU)
    with pytest.raises(OSError, match=r"on fire"):
        list(rows.batches(torch.arange(100).view(10, 10)))
    assert threading.active_count() == before


def test_a_reader_that_is_abandoned_leaves_no_thread():
    before = threading.active_count()
    batches = StreamedRows(np.zeros((100, 3)), CPU).batches(torch.arange(100).view(10, 10))
    next(batches)
    batches.close()
    assert threading.active_count() == before
