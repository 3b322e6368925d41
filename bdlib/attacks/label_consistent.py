"""Label-consistent poisoning. Turner, Tsipras & Madry 2019, arXiv:1912.02771.

Images of the target class keep their labels. They are first made hard to recognise, by small changes that mislead a
clean network; then corners are stamped on them. What is left to learn the class from is the corners.
"""

import torch
import torch.nn.functional as F
from torch import nn

from bdlib.attacks.poisoning import Poisoned, poison
from bdlib.attacks.surrogate import brief_training
from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import apply_trigger
from bdlib.types import Images, Labels, MakeModel, Trigger


def blank(shape: tuple[int, int, int], make_model: MakeModel) -> nn.Module:
    """The network before it is trained."""
    return make_model()


def craft(
    train: ImageSet,
    *,
    make_model: MakeModel,
    epochs: int = 3,  # ours, for small data; the benchmark has a fully trained network
    augmentation: int | None = 2,
    seed: int,
) -> nn.Module:
    """The clean network that is to be misled, in evaluation mode without gradients."""
    return brief_training(train, make_model, epochs=epochs, augmentation=augmentation, seed=seed)


def poison_consistently(
    data: ImageSet, trigger: Trigger, surrogate: nn.Module, *, target_label: int, poison_rate: float, seed: int
) -> Poisoned:
    """Perturb and apply_trigger a random `poison_rate` of the target class; all labels stay as they are.

    Raises ValueError when `poison_rate` is outside [0, 1].
    """
    chosen = poison(data, trigger, target_label=target_label, poison_rate=poison_rate, seed=seed, clean_label=True)
    ids, images = chosen.is_poisoned.nonzero().squeeze(1), data.images.clone()
    for some in ids.split(500):
        hard = perturbed(surrogate, data.images[some].float() / 255, data.labels[some])
        images[some] = apply_trigger(hard.mul(255).round().byte(), trigger)
    return Poisoned(ImageSet(images, data.labels), chosen.is_poisoned)


def perturbed(
    network: nn.Module,
    images: Images,
    labels: Labels,
    *,
    radius: float = 16 / 255,  # the benchmark's file says 16, its script 8; largest change of a pixel
    steps: int = 10,  # benchmark 100
    step_size: float = 4 / 255,  # 2.5 radii in all steps together
) -> Images:
    """`images` moved, no pixel by more than `radius`, to where `network` does not see `labels`; within [0, 1].

    Signed gradient steps up the cross-entropy from the images themselves, without a random start (Madry et al. 2018).
    """
    moved = images.clone()
    for _ in range(steps):
        moved.requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(network(moved), labels), moved)
        stepped = moved.detach() + step_size * gradient.sign()
        moved = torch.clamp(stepped, images - radius, images + radius).clamp(0, 1)
    return moved
