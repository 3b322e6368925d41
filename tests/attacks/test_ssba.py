"""SSBA: an encoder that hides its bits, and is refused where it does not."""

from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.nn.functional import avg_pool2d

from bdlib.attacks.ssba import ATTACK, FitError
from bdlib.data.datasets import load_dataset
from bdlib.data.images import ImageSet
from bdlib.models import small_resnet


def test_an_untrained_encoder_is_refused(clean, make_model):
    with pytest.raises(FitError, match="reads .* of the bits, it must read more than 95 %"):
        replace(ATTACK, steps=1).fit(clean, make_model, augmentation=None, seed=0)


def test_the_light_encoder_hides_its_bits_sample_by_sample():
    """On real images of half the size: more than 95 % of bits are read, changes are small, and no two are alike."""
    images = avg_pool2d(F.pad(load_dataset("fashion")[0].images[:2000].float(), (2, 2, 2, 2)), 2).byte()
    make_model = partial(small_resnet, 1, 10, (0.5,), (0.5,))
    data, attack = ImageSet(images, torch.zeros(2000, dtype=torch.long)), replace(ATTACK, steps=320)
    trigger, x = attack.fit(data, make_model, augmentation=None, seed=0), data.images[:100] / 255
    assert trigger.secret.numel() == 16 and 0 < (trigger(x) - x).abs().max() <= 12 / 255 + 1e-6
    residual = torch.nn.functional.normalize((trigger(x) - x).flatten(1), dim=1)
    assert (residual @ residual.T).fill_diagonal_(0).sum() / (100 * 99) < 0.9
    assert torch.equal(trigger(x), attack.fit(data, make_model, augmentation=None, seed=0)(x))
