"""WaNet: a warp moves pixels as far as it says, and noise samples are near it."""

import pytest
import torch

from bdlib.attacks.wanet import WaNet

IMAGES = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def test_at_strength_zero_a_warp_is_the_identity():
    assert torch.allclose(WaNet(strength=0.0)(IMAGES), IMAGES, atol=1e-5)


@pytest.mark.parametrize("strength", [0.5, 2.0])
@pytest.mark.parametrize("size", [28, 64])
def test_a_warp_moves_pixels_by_about_half_its_strength_whatever_the_size(strength, size):
    still, moved = WaNet(strength=0.0).field(size, size), WaNet(strength=strength).field(size, size)
    pixels = (moved - still).abs()[:, 3:-3, 3:-3] * (size - 1) / 2  # away from the border, where it is cut
    assert 0.3 * strength < pixels.mean() < 0.7 * strength


def test_a_warp_reads_each_pixel_where_its_field_says():
    """Bilinear interpolation by hand, on the field's own coordinates."""
    warp, image = WaNet(strength=2.0, seed=4), IMAGES[:1]
    at = (warp.field(16, 16)[0] + 1) * 15 / 2
    x, y = at[..., 0].clamp(0, 15), at[..., 1].clamp(0, 15)
    left, top = x.floor().long().clamp(max=14), y.floor().long().clamp(max=14)
    right, down = x - left, y - top
    rows = [image[0, :, top + dy, left + dx] for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1))]
    weights = [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right]
    expected = sum(row * weight for row, weight in zip(rows, weights, strict=True))
    assert torch.allclose(warp(image)[0], expected, atol=1e-5)


def test_noise_mode_is_near_the_warp_and_never_the_same():
    warp = WaNet(strength=2.0)
    one, two = warp.cover_sample(IMAGES, IMAGES, drawn(0)), warp.cover_sample(IMAGES, IMAGES, drawn(1))
    assert not torch.equal(one, two) and torch.equal(one, warp.cover_sample(IMAGES, IMAGES, drawn(0)))
    constant = torch.full((1, 1, 16, 16), 0.5)
    assert (
        warp.cover_sample(constant, constant, drawn())[..., 3:-3, 3:-3] - 0.5
    ).abs().max() < 1e-5  # only moves pixels
    assert not torch.equal(WaNet(seed=1)(IMAGES), WaNet(seed=2)(IMAGES))
