"""PSNR and SSIM by known properties and by hand; the spectrum; what the page about attacks measures."""

from math import exp, log10

import pytest
import torch

from bdlib.attacks.badnets import BadNets
from bdlib.attacks.bpp import BPP
from bdlib.attacks.none import NoTrigger
from bdlib.attacks.sig import SIG
from bdlib.attacks.wanet import WaNet
from bdlib.evaluation.image_quality import LIMIT, psnr, spectrum, ssim
from bdlib.mechanisms.attacks import attacks, likeness

IMAGES = torch.rand(4, 2, 20, 20, generator=torch.Generator().manual_seed(0))


def test_psnr_of_a_known_error():
    brighter = torch.full((2, 1, 12, 12), 0.6)
    assert psnr(brighter - 0.1, brighter).tolist() == pytest.approx([-20 * log10(0.1)] * 2, abs=1e-4)
    assert psnr(IMAGES, IMAGES).tolist() == [LIMIT] * 4
    assert (psnr(IMAGES, BPP(8)(IMAGES)) >= 25).all()


def test_ssim_is_one_for_equal_images_symmetric_and_falls_with_noise():
    noise = torch.randn(IMAGES.shape, generator=torch.Generator().manual_seed(1))
    little, much = (IMAGES + scale * noise for scale in (0.05, 0.5))
    assert torch.allclose(ssim(IMAGES, IMAGES), torch.ones(4, dtype=torch.float64))
    assert torch.allclose(ssim(IMAGES, much), ssim(much, IMAGES))
    assert (ssim(IMAGES, much) < ssim(IMAGES, little)).all() and (ssim(IMAGES, little) < 1).all()


def test_ssim_of_flat_images_is_its_luminance_term():
    dark, light = torch.full((1, 1, 15, 15), 0.2), torch.full((1, 1, 15, 15), 0.7)
    expected = (2 * 0.2 * 0.7 + 1e-4) / (0.2**2 + 0.7**2 + 1e-4)
    assert ssim(dark, light).item() == pytest.approx(expected, abs=1e-6)


def test_ssim_by_hand_in_one_window():
    """On 11 x 11 pixels there is one place: weighted moments in plain loops."""
    x, y = IMAGES[0, 0, :11, :11].double(), IMAGES[1, 0, :11, :11].double()
    line = [exp(-((i - 5) ** 2) / 4.5) for i in range(11)]
    w = torch.tensor([[a * b / sum(line) ** 2 for b in line] for a in line], dtype=torch.float64)
    mx, my = (w * x).sum(), (w * y).sum()
    vx, vy, c = (w * (x - mx) ** 2).sum(), (w * (y - my) ** 2).sum(), (w * (x - mx) * (y - my)).sum()
    by_hand = (2 * mx * my + 1e-4) * (2 * c + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    assert ssim(x[None, None], y[None, None]).item() == pytest.approx(by_hand.item(), abs=1e-6)


def test_the_spectrum_of_stripes_is_a_pair_of_peaks_beside_the_middle():
    residual = SIG(frequency=4)(torch.full((3, 1, 20, 20), 0.5)) - 0.5
    strongest = spectrum(residual).flatten().topk(2).indices.tolist()
    assert {divmod(place, 20) for place in strongest} == {(10, 6), (10, 14)}


def test_what_is_measured_is_finite_and_knows_cover_samples(backdoored, test_set):
    plain = attacks(backdoored, test_set, BadNets(size=3), target_label=0)
    assert plain["changed"] <= 27 / 768 and plain["psnr"] < LIMIT and set(plain) == {"psnr", "ssim", "changed", "alike"}
    assert attacks(backdoored, test_set, NoTrigger(), target_label=0)["psnr"] == LIMIT
    warped = attacks(backdoored, test_set, WaNet(strength=0.0), target_label=0)
    assert warped["cover_accuracy"] > 0.8 and warped["cover_asr"] < 0.2
    onwards = attacks(backdoored, test_set, WaNet(), target_label=0, label_map="all_to_all")
    assert 0 <= onwards["cover_asr"] <= 0.3


def test_likeness_by_hand():
    one = torch.tensor([1.0, 0, 0, 0]).view(1, 1, 2, 2)
    other = torch.tensor([1.0, 1, 0, 0]).view(1, 1, 2, 2)
    assert likeness(torch.cat([one, 3 * one])) == pytest.approx(1)
    assert likeness(torch.cat([one, other, one])) == pytest.approx((1 + 2 * 0.5**0.5) / 3)
