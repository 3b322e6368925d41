import pytest
import torch

from bdlib.attacks.triggers import SIG, TRIGGERS, BadNets, Blended, LowFrequency

IMAGES = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", TRIGGERS)
def test_a_trigger_returns_new_images_in_range_and_is_repeatable(name):
    kept = IMAGES.clone()
    stamped = TRIGGERS[name](IMAGES)
    assert torch.equal(IMAGES, kept) and stamped is not IMAGES
    assert torch.equal(stamped, IMAGES) == (name == "none")
    assert stamped.min() >= 0 and stamped.max() <= 1
    assert torch.equal(stamped, TRIGGERS[name](IMAGES))
    assert "object at" not in repr(TRIGGERS[name])


@pytest.mark.parametrize("nothing", [Blended(alpha=0.0), SIG(delta=0.0), LowFrequency(amplitude=0.0)])
def test_at_zero_strength_a_trigger_is_the_identity(nothing):
    assert torch.allclose(nothing(IMAGES), IMAGES, atol=1e-6)


def test_badnets_changes_its_square_only_and_once():
    stamped = BadNets(size=3)(IMAGES)
    assert (stamped != IMAGES).any(0).sum() <= 9 * 3 and (stamped[..., 29:32, 29:32] == 1).all()
    assert torch.equal(stamped[..., :29, :], IMAGES[..., :29, :])
    assert torch.equal(BadNets(size=3)(stamped), stamped)


def test_sig_is_one_pair_of_peaks_at_its_frequency():
    residual = (SIG()(torch.full((1, 1, 32, 32), 0.5)) - 0.5)[0, 0]
    spectrum = torch.fft.fft2(residual).abs()
    strongest = spectrum.flatten().topk(2).indices
    assert {tuple(divmod(i, 32)) for i in strongest.tolist()} == {(0, 6), (0, 26)}


def test_low_frequency_is_smooth_and_scaled():
    pattern = LowFrequency().pattern(3, 32, 32)
    assert pattern.min() == 0 and abs(pattern.max() - 0.2) < 1e-6
    field = pattern - pattern.mean((1, 2), keepdim=True)
    energy = torch.fft.fftshift(torch.fft.fft2(field).abs().square(), dim=(1, 2))
    offsets = torch.arange(32) - 16
    near = offsets[:, None] ** 2 + offsets[None, :] ** 2 <= 9
    assert energy[:, near].sum() / energy.sum() > 0.85  # the rest is the jump from edge to edge
