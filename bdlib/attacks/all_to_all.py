"""Attacks that move every class one on: label y becomes (y + 1) mod K, so that there is no single target.

The counterparts of `poison`, `triggered` and `evaluate`; all test images count, as each has another label to move to.
"""

import torch
from torch import Generator, nn

from bdlib.attacks.poisoning import Poisoned
from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import apply_trigger
from bdlib.evaluation.metrics import Scores
from bdlib.models import predict, share
from bdlib.types import Labels, Trigger


def next_class(labels: Labels, num_classes: int) -> Labels:
    """The label that the attack wants in place of each true one."""
    return (labels + 1) % num_classes


def poison_all(data: ImageSet, trigger: Trigger, *, num_classes: int, poison_rate: float, seed: int) -> Poisoned:
    """Stamp `trigger` on a random `poison_rate` of all images and move their labels one class on.

    Raises ValueError when `poison_rate` is outside [0, 1].
    """
    if not 0 <= poison_rate <= 1:
        raise ValueError(f"poison_rate={poison_rate}: must be from 0 to 1")
    count = round(poison_rate * len(data))
    chosen = torch.randperm(len(data), generator=Generator().manual_seed(seed))[:count].to(data.labels.device)
    images, labels = data.images.clone(), data.labels.clone()
    if count:
        images[chosen] = apply_trigger(data.images[chosen], trigger)
        labels[chosen] = next_class(labels[chosen], num_classes)
    is_poisoned = torch.zeros(len(data), dtype=torch.bool, device=images.device)
    is_poisoned[chosen] = True
    return Poisoned(ImageSet(images, labels), is_poisoned)


def evaluate_all(model: nn.Module, test: ImageSet, trigger: Trigger, *, num_classes: int) -> Scores:
    """Score `model` as `evaluate` does, but for an all-to-all attack: T is the whole test set."""
    right = predict(model, test) == test.labels
    guesses = predict(model, ImageSet(apply_trigger(test.images, trigger), test.labels))
    return Scores(
        clean_accuracy=share(right),
        asr=share(guesses == next_class(test.labels, num_classes)),
        robust_accuracy=share(guesses == test.labels),
        clean_accuracy_others=share(right),
    )
