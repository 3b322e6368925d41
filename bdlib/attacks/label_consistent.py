"""Label-consistent poisoning. Turner, Tsipras and Madry 2019, arXiv:1912.02771.

Images of the target class keep their labels. They are first made hard to recognize, by small changes that mislead a
clean network; then corners are stamped on them. What is left to learn the class from is the corners.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from bdlib import ranges
from bdlib.attacks.attack import Attack
from bdlib.attacks.poisoning import Poisoned, Positions
from bdlib.attacks.surrogate import brief_training
from bdlib.checks import CheckedFields, ParameterError, checked
from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import apply_trigger
from bdlib.types import Images, Labels, MakeModel, Relabel, Trigger
from bdlib.words import shown


@dataclass(frozen=True)
class Corners(CheckedFields):
    """The trigger: a board of 3 x 3 values, +1 or -1, added to each corner. Mirroring the image leaves it as it is.

    It is the released trigger: a checkerboard but for one dark pixel. Its size is in pixels, whatever the image's;
    the benchmark resizes a picture of 32 pixels.
    """

    amplitude: ranges.Fraction = 1.0  # of the added values; the released code's

    def __call__(self, images: Images) -> Images:
        board = self.amplitude * torch.tensor([[1.0, -1, -1], [-1, 1, -1], [1, -1, 1]], device=images.device)
        added = torch.zeros_like(images)
        for rows in (slice(None, 3), slice(-3, None)):
            added[..., rows, :3], added[..., rows, -3:] = board, board.flip(1)
        return (images + added).clamp(0, 1)


class FittedCorners(nn.Module):
    """`Corners`, and beside them the clean network that poisoned images are to mislead. Test images get the corners."""

    def __init__(self, network: nn.Module, corners: Corners) -> None:
        super().__init__()
        self.network, self.corners = network, corners

    def forward(self, images: Images) -> Images:
        return self.corners(images)


@dataclass(frozen=True, kw_only=True)
class LabelConsistent(Attack):
    """The attack; its fitted trigger is a `FittedCorners`."""

    clean_label: bool = True
    amplitude: ranges.Fraction = 1.0  # of the corners
    epochs: ranges.Count = 3  # of the clean network; ours, for small data: the benchmark has a fully trained one
    radius: ranges.Fraction = 16 / 255  # largest change of a pixel; the benchmark's file says 16, its script 8
    steps: ranges.Count = 10  # benchmark 100
    step_size: ranges.Fraction = 4 / 255  # 2.5 radii in all steps together

    smallest_image: ClassVar[int] = 3  # of one corner

    def blank(self, shape: tuple[int, int, int], make_model: MakeModel) -> FittedCorners:
        return FittedCorners(make_model(), Corners(self.amplitude))

    @checked
    def fit(
        self, train: ImageSet, make_model: MakeModel, *, augmentation: ranges.Augmentation, seed: ranges.DerivedSeed
    ) -> FittedCorners:
        network = brief_training(train, make_model, epochs=self.epochs, augmentation=augmentation, seed=seed)
        return FittedCorners(network, Corners(self.amplitude))

    @checked
    def poison(self, train: ImageSet, trigger: Trigger, relabel: Relabel, *, poison_rate: ranges.Fraction,
               seed: ranges.Seed, ids: Positions | None = None) -> Poisoned:  # fmt: skip
        """The training set with images of the target class perturbed, then triggered; all labels stay as they are."""
        if not isinstance(trigger, FittedCorners):
            raise ParameterError(f"trigger={shown(trigger)}: must be the one that this attack's `fit` has made")
        plain = super().poison(train, trigger, relabel, poison_rate=poison_rate, seed=seed, ids=ids)
        images = train.images.clone()
        for some in plain.is_poisoned.nonzero().squeeze(1).split(500):
            hard = perturbed(trigger.network, train.images[some].float() / 255, train.labels[some],
                             radius=self.radius, steps=self.steps, step_size=self.step_size)  # fmt: skip
            images[some] = apply_trigger(hard.mul(255).round().byte(), trigger)
        return Poisoned(ImageSet(images, train.labels), plain.is_poisoned)


def perturbed(
    network: nn.Module, images: Images, labels: Labels, *, radius: float, steps: int, step_size: float
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


ATTACK = LabelConsistent(NUMBERS_VERSION=2)
