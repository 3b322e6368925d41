"""What tells attacks apart beside their success: how visible they are, and what their cover_samples do to the model."""

import torch
import torch.nn.functional as F
from torch import Generator, nn

from bdlib.attacks.all_to_all import next_class
from bdlib.attacks.training_controlled import stored
from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import apply_trigger
from bdlib.evaluation.image_quality import psnr, ssim
from bdlib.models import predict, share
from bdlib.types import Images, Trigger

IMAGES = 500  # of the test set that are looked at


def attacks(
    model: nn.Module,
    test: ImageSet,
    trigger: Trigger,
    *,
    target_label: int,
    label_map: str = "all_to_one",
) -> dict[str, float]:
    """Over the first test images whose label the attack changes: PSNR in dB, SSIM, and of what is added two facts.

    `changed` is the share of pixel values that differ, `alike` the likeness of what two images get.

    For attacks that train_input_aware training, also the accuracy on cover_samples, and the share of them that the model gives the
    attack's label: near the clean accuracy and near 0 where only the exact trigger works.
    """
    wanted = torch.full_like(test.labels, target_label)
    if label_map == "all_to_all":
        wanted = next_class(test.labels, int(test.labels.max()) + 1)
    able = wanted != test.labels
    some, wanted = test[able], wanted[able][:IMAGES]
    some = some[torch.arange(len(some), device=some.labels.device) < IMAGES]
    clean, hit = some.images.float() / 255, apply_trigger(some.images, trigger).float() / 255
    measured = {
        "psnr": psnr(clean, hit).mean().item(),
        "ssim": ssim(clean, hit).mean().item(),
        "changed": (clean != hit).double().mean().item(),
        "alike": likeness(hit - clean),
    }
    if hasattr(trigger, "cover_sample"):
        with torch.no_grad():
            near = trigger.cover_sample(clean, clean.roll(1, 0), Generator().manual_seed(0))
        guesses = predict(model, ImageSet(stored(near), some.labels))
        measured |= {"cover_accuracy": share(guesses == some.labels),
                     "cover_asr": share(guesses == wanted)}  # fmt: skip
    return measured


def likeness(residuals: Images) -> float:
    """Mean cosine between what is added to two images: 1 for one pattern, near 0 where every image has its own."""
    unit = F.normalize(residuals.flatten(1).double(), dim=1)
    count = len(unit)
    return ((unit @ unit.T).sum() - unit.square().sum()).item() / (count * (count - 1))
