"""Input-aware dynamic triggers: a network draws a pattern for each image. Nguyen & Tran, NeurIPS 2020.

Another network says where: its mask is trained first, to be small and to differ between images, and then kept. The
pattern's network is trained with the classifier. In cross mode an image carries another one's trigger and keeps its
label, so that a trigger works only on the image that it was made for. arXiv:2010.08138.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from bdlib.attacks.training_controlled import Mixed, Relabel, train_controlled
from bdlib.data.images import ImageSet, batches
from bdlib.models import seeded
from bdlib.training.loop import Schedule
from bdlib.types import Images, Loss, MakeModel, OnEvent, ignore


class InputAware(nn.Module):
    """The trigger: x + (G(x) - x) m(x), with pattern G and mask m made from the image x itself."""

    cover_samples = 1.0  # cross samples for each triggered one

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pattern_net = drawer(channels, channels)
        self.mask_net = drawer(channels, 1)

    def forward(self, images: Images) -> Images:
        return images + (self.pattern(images) - images) * self.mask(images)

    def cover_sample(self, images: Images, others: Images, generator: Generator) -> Images:
        """Cross mode: pattern and mask of `others`."""
        return images + (self.pattern(others) - images) * self.mask(others)

    def pattern(self, images: Images) -> Images:
        """G: pixels in [0, 1]."""
        return self.pattern_net(images).sigmoid()

    def mask(self, images: Images) -> Float[Tensor, "n 1 h w"]:
        """m: nearly 0 or 1, 0.5 + 0.5 tanh(20 M - 10) with M in [0, 1]."""
        return 0.5 + 0.5 * torch.tanh(20 * self.mask_net(images).sigmoid() - 10)


def drawer(channels: int, made: int, width: int = 16) -> nn.Sequential:
    """Three convolutions that see a quarter of the resolution and draw at the whole; image sides divisible by 4."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(width, width, 3, stride=2, padding=1), nn.ReLU(),
        nn.Upsample(scale_factor=4), nn.Conv2d(width, made, 3, padding=1),
    )  # fmt: skip


def blank(shape: tuple[int, int, int], make_model: MakeModel) -> InputAware:
    """The two networks before they are trained."""
    return InputAware(shape[0])


def train_input_aware(
    model: nn.Module,
    data: ImageSet,
    schedule: Schedule,
    relabel: Relabel,
    *,
    poison_rate: float,
    cover_samples: bool = True,
    on_event: OnEvent = ignore,
    compiled: bool = False,
) -> InputAware:
    """Train `model` in place, in evaluation mode afterwards; the trigger that was trained with it comes back.

    The mask gets a quarter of the schedule's epochs before, as 25 of 100 in the benchmark. The pattern's gradients
    start at zero in every step; the benchmark's code lets them add up.
    """
    trigger = seeded(lambda: InputAware(data.images.shape[1]), seed=schedule.seed).to(data.labels.device)
    assert isinstance(trigger, InputAware)
    epochs = max(1, round(schedule.epochs / 4))
    train_mask(trigger, data, epochs=epochs, batch_size=schedule.batch_size, seed=schedule.seed)
    trigger.mask_net.requires_grad_(False)
    both = Jointly(model.to(data.labels.device).parameters(), trigger.pattern_net, schedule)

    def penalty(images: Images, mixed: Mixed) -> Loss:
        return diversity(images, trigger.pattern(images))

    train_controlled(model, data, schedule, trigger, relabel, poison_rate=poison_rate, cover_samples=cover_samples,
                  penalty=penalty, optimizer=both, on_event=on_event, compiled=compiled)  # fmt: skip
    return trigger.eval().requires_grad_(False)


def train_mask(
    trigger: InputAware,
    data: ImageSet,
    *,
    epochs: int,
    batch_size: int,
    density: float = 0.032,  # of the mask; BackdoorBench's, as the weight and Adam's settings
    weight: float = 100.0,
    learning_rate: float = 0.01,
    seed: int,
) -> None:
    """Train the mask's network in place: 100 mean(relu(m - density)), and masks that differ between images."""
    optimizer = torch.optim.Adam(trigger.mask_net.parameters(), learning_rate, betas=(0.5, 0.9))
    generator = Generator().manual_seed(seed)
    for _ in range(epochs):
        for batch in batches(data, batch_size, generator=generator):
            masks = trigger.mask(batch.images)
            loss = weight * F.relu(masks - density).mean() + diversity(batch.images, masks)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def diversity(images: Images, made: Float[Tensor, "n made h w"]) -> Loss:
    """Mean of ``|x - x'| / |f(x) - f(x')|`` over pairs of neighbours in the batch, root-mean-square norms."""
    apart = rms(images - images.roll(1, 0))
    return (apart / (rms(made - made.roll(1, 0)) + 1e-7)).mean()


def rms(difference: Float[Tensor, "n made h w"]) -> Float[Tensor, " n"]:
    return (difference.square().mean((1, 2, 3)) + 1e-14).sqrt()  # the root has no gradient at 0


class Jointly(torch.optim.SGD):
    """The victim's SGD, and Adam for the pattern's network in the same step; only the first follows the schedule."""

    def __init__(self, parameters: Any, pattern_net: nn.Module, schedule: Schedule) -> None:
        super().__init__(parameters, schedule.learning_rate, momentum=schedule.momentum, nesterov=schedule.nesterov,
                         weight_decay=schedule.weight_decay)  # fmt: skip
        self.adam = torch.optim.Adam(pattern_net.parameters(), 0.01, betas=(0.5, 0.9))  # BackdoorBench's

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)
        self.adam.zero_grad(set_to_none)

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        self.adam.step()
        return loss
