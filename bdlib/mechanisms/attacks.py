"""What tells attacks apart beside their success: how visible they are, and what their cover samples do to the model."""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Generator, nn

from bdlib.attacks.cover_samples import CoveredTrigger
from bdlib.checks import OneOf, checked
from bdlib.data.images import ImageSet, require_images
from bdlib.evaluation.apply_trigger import LABEL_MAPS, TargetLabel, as_pixels, attacked_set
from bdlib.evaluation.image_quality import psnr, ssim
from bdlib.models import predict, share
from bdlib.types import Images, Trigger

NUMBERS_VERSION = 1  # raise it when a change here changes what is measured

IMAGES = 500  # of the test set that are looked at


@checked
def attacks(
    model: nn.Module, test: ImageSet, trigger: Trigger, *,
    target_label: TargetLabel, label_map: Annotated[str, OneOf(LABEL_MAPS)] = "all_to_one",
) -> dict[str, float]:  # fmt: skip
    """How visible the trigger is, over the first test images whose label the attack changes.

    `psnr` is in decibels. `ssim` is at most 1. `changed` is the share of pixel values that differ. `alike` is the mean
    cosine between what is added to two images. For a training-controlled attack also `cover_accuracy`, the model's
    accuracy on cover samples, and `cover_asr`, the share of them that get the attack's label: where only the exact
    trigger works, they are near the clean accuracy and near 0.
    """
    relabel = LABEL_MAPS[label_map](target_label, int(test.labels.max()) + 1)
    some = test[relabel(test.labels) != test.labels][:IMAGES]
    require_images(some, "test, without images whose label stays", least=2)
    attacked = attacked_set(some, trigger, relabel)
    clean, triggered = some.images.float() / 255, attacked.triggered.images.float() / 255
    measured = {
        "psnr": psnr(clean, triggered).mean().item(),
        "ssim": ssim(clean, triggered).mean().item(),
        "changed": (clean != triggered).double().mean().item(),
        "alike": likeness(triggered - clean),
    }
    if isinstance(trigger, CoveredTrigger):
        with torch.no_grad():
            cover = trigger.cover_sample(clean, clean.roll(1, 0), Generator().manual_seed(0))
        guesses = predict(model, ImageSet(as_pixels(cover), some.labels))
        measured |= {"cover_accuracy": share(guesses == some.labels),
                     "cover_asr": share(guesses == attacked.wanted)}  # fmt: skip
    return measured


def likeness(residuals: Images) -> float:
    """Mean cosine between what is added to two images: 1 for one pattern, near 0 where every image has its own."""
    unit = F.normalize(residuals.flatten(1).double(), dim=1)
    count = len(unit)
    return ((unit @ unit.T).sum() - unit.square().sum()).item() / (count * (count - 1))
