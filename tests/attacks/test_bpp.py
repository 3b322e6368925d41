"""BPP: so many levels, and negative samples with the residual of another image."""

import pytest
import torch

from bdlib.attacks.bpp import BPP

IMAGES = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("levels", [4, 8])
def test_bpp_leaves_so_many_levels_and_repeats_nothing(levels):
    rounded = BPP(levels)(IMAGES)
    assert len(rounded.unique()) == levels and torch.equal(BPP(levels)(rounded), rounded)
    assert (rounded - IMAGES).abs().max() <= 0.5 / (levels - 1) + 1e-6


def test_negative_samples_carry_the_residual_of_another_image():
    others, trigger = IMAGES.flip(0), BPP(4)
    gray = torch.full_like(IMAGES, 0.5)
    assert torch.allclose(trigger.cover_sample(gray, others, drawn()) - gray, trigger(others) - others, atol=1e-6)
