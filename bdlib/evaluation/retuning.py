"""Asleep or gone: how far a repaired network is from its victim, by a few poisoned images and by its weights."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from bdlib import ranges
from bdlib.checks import ParameterError, checked
from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import AllToOne, TargetLabel, apply_trigger, attacked_set
from bdlib.evaluation.landscape import between
from bdlib.evaluation.reactivation import success
from bdlib.models import evaluation_mode
from bdlib.training.loop import Schedule, train
from bdlib.types import Images, Logits, Trigger


@checked
def retuned(
    model: nn.Module,
    clean: ImageSet,
    trigger: Trigger,
    *,
    target_label: TargetLabel,
    poisons: Annotated[int, Field(ge=0, le=100_000)] = 5,
    epochs: ranges.Count = 5,
    learning_rate: ranges.LearningRate = 0.01,
    batch_size: ranges.BatchSize = 128,
    seed: ranges.Seed = 0,
) -> nn.Module:
    """A copy of `model`, fine-tuned on `clean` images of which the first `poisons` of other classes carry the trigger.

    They get the target label. Momentum 0.9, constant rate, no weight decay, all weights: the retuning attack of Min et
    al., NeurIPS 2024, arXiv:2410.09838, with the settings of its released code. With no poison it is the control, plain
    fine-tuning. Filters that a defense has pruned take part and may grow back.

    Raises ParameterError for more poisons than there are images of other classes.

    Example: `evaluate(retuned(repaired, clean, trigger, target_label=0), test, trigger, target_label=0).asr`
    """
    others = (clean.labels != target_label).nonzero()[:, 0][:poisons]
    if len(others) < poisons:
        raise ParameterError(f"poisons={poisons}: must be at most {len(others)}, the images of other classes")
    images, labels = clean.images.clone(), clean.labels.clone()
    if poisons:
        images[others], labels[others] = apply_trigger(images[others], trigger), target_label
    copy = deepcopy(model).requires_grad_(True)
    schedule = Schedule(epochs, learning_rate, anneal="constant", batch_size=batch_size, weight_decay=0.0,
                        augmentation=None, seed=seed)  # fmt: skip
    return train(copy, ImageSet(images, labels), schedule)


@checked
def path_success(
    repaired: nn.Module, victim: nn.Module, test: ImageSet, trigger: Trigger, shares: Sequence[float],
    *, target_label: TargetLabel,
) -> list[float]:  # fmt: skip
    """ASR at these shares of the straight way from the repaired network's weights to the victim's.

    BatchNorm's statistics move along. Raises ParameterError for networks of different weights.

    Example: `path_success(repaired, victim, test, trigger, [0, 0.5, 1], target_label=0)[2]` is the victim's ASR.
    """
    triggered = attacked_set(test, trigger, AllToOne(target_label)).triggered
    found = []
    for place in shares:
        moved = between(repaired, victim, place)

        class Between(nn.Module):
            def forward(self, images: Images, moved: dict[str, Tensor] = moved) -> Logits:
                return functional_call(repaired, moved, (images,))

        with evaluation_mode(repaired):
            found.append(success(Between(), triggered, target_label=target_label))
    return found
