import numpy as np
import pytest
import torch

from datk.nn import strong_view
from datk.nn.views import add_noise, blur, cut_out, drop_features, gain_and_offset, translate, turn


def images(rows=3, channels=2, height=7, width=5):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, channels, height, width, generator=generator, dtype=torch.float64)


def test_translation_mirrors_what_comes_in():
    x = images()
    found = translate(x, torch.tensor([[0, 0], [2, -1], [-3, 4]])).numpy()
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (6, 6), (4, 4)), mode="reflect")
    for row, (down, right) in enumerate([(0, 0), (2, -1), (-3, 4)]):
        np.testing.assert_array_equal(found[row], padded[row][:, 6 - down : 13 - down, 4 - right : 9 - right])


def test_turns_are_symmetries_of_the_square():
    x = images(8, 1, 4, 4)
    found = turn(x, torch.arange(8)).numpy()
    for code in range(8):
        image = x[code, 0].numpy()
        image = image[:, ::-1] if code & 1 else image
        image = image[::-1] if code & 2 else image
        image = image.T if code & 4 else image
        np.testing.assert_array_equal(found[code, 0], image)
    assert turn(images(), torch.tensor([4, 5, 7])).shape == images().shape  # not square: only mirrored


def test_blur_is_a_mean_of_neighbours():
    x = images()
    smooth = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (0, 0)), mode="reflect")
    smooth = smooth[:, :, 1:-1] / 2 + (smooth[:, :, :-2] + smooth[:, :, 2:]) / 4
    smooth = np.pad(smooth, ((0, 0), (0, 0), (0, 0), (1, 1)), mode="reflect")
    smooth = smooth[..., 1:-1] / 2 + (smooth[..., :-2] + smooth[..., 2:]) / 4
    amount = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    found = blur(x, amount).numpy()
    for row, share in enumerate(amount.tolist()):
        np.testing.assert_allclose(found[row], (1 - share) * x[row].numpy() + share * smooth[row], rtol=1e-12)


def test_gain_offset_noise_and_holes():
    x = images()
    log_gain, offset = torch.randn(2, 3, 2, dtype=torch.float64)
    found = gain_and_offset(x, log_gain, offset)
    np.testing.assert_allclose(found[1, 0], np.exp(log_gain[1, 0].item()) * x[1, 0] + offset[1, 0])

    drawn = torch.randn_like(x)
    found = add_noise(x, torch.tensor([0.0, 1.0, 2.0]), drawn)
    assert torch.equal(found[0], x[0])
    torch.testing.assert_close(found[2], x[2] + 2 * drawn[2])

    centre = torch.tensor([[0.5, 0.5], [0.0, 0.0], [0.5, 0.5]], dtype=x.dtype)
    size = torch.tensor([[0.0, 0.0], [0.5, 0.5], [2.0, 2.0]], dtype=x.dtype)
    found = cut_out(x, centre, size)
    assert torch.equal(found[0], x[0])
    assert (found[1, :, :2, :1] == 0).all()
    assert torch.equal(found[1, :, 2:], x[1, :, 2:])
    assert (found[2] == 0).all()

    vectors = torch.ones(2, 4)
    dropped = torch.tensor([[True, False, False, True], [False] * 4])
    assert drop_features(vectors, dropped).tolist() == [[0, 1, 1, 0], [1, 1, 1, 1]]


@pytest.mark.parametrize("shape", [(4, 3, 16, 16), (4, 1, 9, 5), (4, 2, 1, 1), (4, 12)])
def test_a_strong_view_is_another_one_of_the_same_shape_each_time(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    first, second = strong_view(x), strong_view(x)
    torch.manual_seed(1)
    assert torch.equal(first, strong_view(x))
    assert not torch.equal(first, second)
    assert first.shape == x.shape
    assert first.isfinite().all()
    assert len({float((a - b).abs().max()) for a, b in zip(first, x, strict=True)}) == 4  # each its own


def test_strength_zero_changes_nothing_and_more_changes_more():
    x = torch.randn(32, 3, 16, 16)
    assert torch.equal(strong_view(x, 0.0), x)
    gaps = [(strong_view(x, strength) - x).square().mean().item() for strength in (0.2, 1.0, 2.0)]
    assert gaps == sorted(gaps)
    assert gaps[0] > 0


def test_the_gradient_passes():
    x = torch.randn(3, 2, 8, 8, requires_grad=True)
    torch.autograd.backward(strong_view(x).sum())
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize(("x", "strength"), [(torch.zeros(3, 4, 5), 1.0), (torch.zeros(3, 4), 2.5)])
def test_what_cannot_be_viewed(x, strength):
    with pytest.raises(ValueError, match=r"strong view|strength"):
        strong_view(x, strength)


@pytest.mark.parametrize("shape", [(4, 3, 16, 16), (4, 12)])
def test_views_compile_as_one_graph(shape):
    x = torch.randn(shape)
    compiled = torch.compile(strong_view, fullgraph=True, backend="aot_eager")
    torch.manual_seed(0)
    found = compiled(x, 1.0, True)
    torch.manual_seed(0)
    torch.testing.assert_close(found, strong_view(x, 1.0, True))


def test_nothing_leaves_the_device():
    """Tensors without values, of which nothing can be read."""
    for x in (torch.empty(4, 3, 16, 16, device="meta"), torch.empty(4, 12, device="meta")):
        assert strong_view(x, 1.0, True).shape == x.shape
