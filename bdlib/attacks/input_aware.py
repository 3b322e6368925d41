"""Input-aware dynamic triggers: a network draws a pattern for each image. Nguyen and Tran, NeurIPS 2020.

Another network says where: its mask is trained first, to be small and to differ between images, and then kept. The
pattern's network is trained with the victim. Cross samples carry another image's trigger and keep their labels, so that
a trigger works only on the image that it was made for. arXiv:2010.08138.
"""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Generator, Tensor, nn

from bdlib import ranges
from bdlib.attacks.poisoning import Positions
from bdlib.attacks.training_controlled import TrainingControlled
from bdlib.checks import checked
from bdlib.data.images import ImageSet, batches
from bdlib.models import seeded
from bdlib.training.loop import Epoch, Schedule, steps
from bdlib.types import Images, Loss, MakeModel, MovedModel, OnEvent, Relabel, Trigger, ignore

_BETAS = (0.5, 0.9)  # Adam's, for both networks; BackdoorBench's


class InputAware(nn.Module):
    """The trigger: x + (G(x) - x) m(x), with pattern G and mask m made from the image x itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pattern_net = _drawing_network(channels, channels)
        self.mask_net = _drawing_network(channels, 1)

    def forward(self, images: Images) -> Images:
        return images + (self.pattern(images) - images) * self.mask(images)

    def cover_sample(self, images: Images, others: Images, generator: Generator) -> Images:
        """Cross samples: pattern and mask of `others`."""
        return images + (self.pattern(others) - images) * self.mask(others)

    def pattern(self, images: Images) -> Images:
        """G: pixels in [0, 1]."""
        return self.pattern_net(images).sigmoid()

    def mask(self, images: Images) -> Float[Tensor, "n 1 h w"]:
        """m: nearly 0 or 1, 0.5 + 0.5 tanh(20 M - 10) with M in [0, 1]."""
        return 0.5 + 0.5 * torch.tanh(20 * self.mask_net(images).sigmoid() - 10)


@dataclass(frozen=True, kw_only=True)
class InputAwareAttack(TrainingControlled):
    """The attack. Its settings are BackdoorBench's."""

    mask_share: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] = (
        0.25  # the mask's epochs before, for each of the schedule's
    )
    density: ranges.Fraction = 0.032  # of the mask
    mask_weight: ranges.Weight = 100.0  # of the density in the mask's loss
    learning_rate: ranges.LearningRate = 0.01  # of both networks

    trains_trigger_with_victim: ClassVar[bool] = True
    image_sizes: ClassVar[int] = 4  # its generator makes images small by four, and large again

    def blank(self, shape: tuple[int, int, int], make_model: MakeModel) -> InputAware:
        return InputAware(shape[0])

    @checked
    def train_victim(
        self, model: MovedModel, data: ImageSet, trigger: Trigger | None, relabel: Relabel, schedule: Schedule, *,
        poison_rate: ranges.Fraction, ids: Positions | None = None, on_event: OnEvent = ignore, compiled: bool = False,
    ) -> InputAware:  # fmt: skip
        """As `Attack.train_victim`; the trigger's two networks are made here.

        The pattern's gradients start at zero in every step; the benchmark's code lets them add up.
        """
        made = self.masked_trigger(data, schedule)
        optimizer = torch.optim.Adam(made.pattern_net.parameters(), self.learning_rate, betas=_BETAS)
        generator = Generator().manual_seed(schedule.seed)
        turns = steps(model, data, replace(schedule, augmentation=None))
        forward: nn.Module = torch.compile(model) if compiled else model  # type: ignore[assignment]
        for batch, step in turns:
            optimizer.zero_grad()
            step(lambda: self.loss(forward, batch, made, relabel, poison_rate, schedule.augmentation, generator)
                 + diversity(batch.images, made.pattern(batch.images)))  # fmt: skip
            optimizer.step()
            if step.ends_epoch:
                on_event("epoch", Epoch(step.epoch, step.mean_loss, model))
        return made.eval().requires_grad_(False)

    def masked_trigger(self, data: ImageSet, schedule: Schedule) -> InputAware:
        """The trigger with its mask trained, which takes no more gradients, and its pattern untrained."""
        made = seeded(lambda: InputAware(data.images.shape[1]), seed=schedule.seed).to(data.labels.device)
        assert isinstance(made, InputAware)
        epochs = max(1, round(self.mask_share * schedule.epochs))
        self.train_mask(made, data, epochs=epochs, batch_size=schedule.batch_size, seed=schedule.seed)
        made.mask_net.requires_grad_(False)
        return made

    def train_mask(self, trigger: InputAware, data: ImageSet, *, epochs: int, batch_size: int, seed: int) -> None:
        """Train the mask's network in place: 100 mean(relu(m - density)), and masks that differ between images."""
        optimizer = torch.optim.Adam(trigger.mask_net.parameters(), self.learning_rate, betas=_BETAS)
        generator = Generator().manual_seed(seed)
        for _ in range(epochs):
            for batch in batches(data, batch_size, generator=generator):
                masks = trigger.mask(batch.images)
                loss = self.mask_weight * F.relu(masks - self.density).mean() + diversity(batch.images, masks)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()


def diversity(images: Images, made: Float[Tensor, "n made h w"]) -> Loss:
    """Mean of norm(x - x') / norm(f(x) - f(x')) over pairs of neighbors in the batch, root-mean-square norms."""
    distance = _rms(images - images.roll(1, 0))
    return (distance / (_rms(made - made.roll(1, 0)) + 1e-7)).mean()


def _rms(difference: Float[Tensor, "n made h w"]) -> Float[Tensor, " n"]:
    return (difference.square().mean((1, 2, 3)) + 1e-14).sqrt()  # the root has no gradient at 0


def _drawing_network(channels: int, outputs: int, width: int = 16) -> nn.Sequential:
    """Three convolutions that see a quarter of the resolution and draw at the whole; image sides divisible by 4."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(width, width, 3, stride=2, padding=1), nn.ReLU(),
        nn.Upsample(scale_factor=4), nn.Conv2d(width, outputs, 3, padding=1),
    )  # fmt: skip


ATTACK = InputAwareAttack(NUMBERS_VERSION=1, cover_ratio=1.0)
