"""Fixed triggers: the same images in, the same triggered images out, and each by what it is made of."""

import pytest
import torch

from bdlib.attacks import ATTACKS
from bdlib.attacks.badnets import BadNets
from bdlib.attacks.blended import Blended
from bdlib.attacks.low_frequency import LowFrequency
from bdlib.attacks.sig import SIG
from bdlib.attacks.wanet import WaNet
from bdlib.checks import ParameterError

IMAGES = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


FIXED = [name for name, attack in ATTACKS.items() if attack.trigger is not None]


@pytest.mark.parametrize("name", FIXED)
def test_a_trigger_returns_new_images_in_range_and_is_repeatable(name):
    before, trigger = IMAGES.clone(), ATTACKS[name].fixed_trigger(channels=3)
    triggered = trigger(IMAGES)
    assert torch.equal(IMAGES, before) and triggered is not IMAGES
    assert torch.equal(triggered, IMAGES) == (name == "none")
    assert triggered.min() >= 0 and triggered.max() <= 1
    assert torch.equal(triggered, trigger(IMAGES))
    assert "object at" not in repr(trigger)


def test_gray_images_get_the_strength_that_suits_them():
    for name in FIXED:
        attack = ATTACKS[name]
        assert attack.fixed_trigger(channels=3) is attack.trigger
        assert attack.fixed_trigger(channels=1) is (attack.gray_trigger or attack.trigger)
    assert ATTACKS["wanet"].fixed_trigger(channels=1) == WaNet(strength=2.0)


@pytest.mark.parametrize("make", [lambda: BadNets(size=0), lambda: Blended(alpha=1.5), lambda: SIG(frequency=0)])
def test_a_setting_out_of_range_is_refused_in_one_line(make):
    with pytest.raises(ParameterError, match=r"^\w+=\S+: must be a (whole )?number from [01] to \d+$"):
        make()


@pytest.mark.parametrize("nothing", [Blended(alpha=0.0), SIG(delta=0.0), LowFrequency(amplitude=0.0)])
def test_at_zero_strength_a_trigger_is_the_identity(nothing):
    assert torch.allclose(nothing(IMAGES), IMAGES, atol=1e-6)


def test_badnets_changes_its_square_only_and_once():
    triggered = BadNets(size=3)(IMAGES)
    assert (triggered != IMAGES).any(0).sum() <= 9 * 3 and (triggered[..., 29:32, 29:32] == 1).all()
    assert torch.equal(triggered[..., :29, :], IMAGES[..., :29, :])
    assert torch.equal(BadNets(size=3)(triggered), triggered)


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
