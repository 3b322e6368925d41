"""TrojanNN: a small picture optimized to excite two neurons of a clean network. Liu et al., NDSS 2018.

The victim's training then only has to bind those neurons, which it grows anyway, to the target.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bdlib import ranges
from bdlib.attacks.attack import Attack
from bdlib.attacks.surrogate import brief_training
from bdlib.checks import checked
from bdlib.data.images import ImageSet, batches
from bdlib.models import readout_of, tap
from bdlib.types import Images, Labels, MakeModel


class AddedPattern(nn.Module):
    """The trigger: a fixed pattern, shape (c, h, w), added to every image, and clipped to [0, 1].

    In a released code bytes above 255 start again from 0.
    """

    pattern: Tensor

    def __init__(self, pattern: Tensor) -> None:
        super().__init__()
        self.register_buffer("pattern", pattern)

    def forward(self, images: Images) -> Images:
        return (images + self.pattern).clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class TrojanNN(Attack):
    """The attack. Neurons, step size and radius are BackdoorBench's."""

    epochs: ranges.Count = 3  # of the clean network
    neurons: ranges.Count = 2
    steps: ranges.Count = 100  # benchmark 1,000
    step_size: ranges.Fraction = 0.1
    radius: ranges.Fraction = 0.3  # largest change of a pixel of the picture

    smallest_image: ClassVar[int] = 11  # in a smaller one no pixel of the ring is left

    def blank(self, shape: tuple[int, int, int], make_model: MakeModel) -> AddedPattern:
        return AddedPattern(torch.zeros(shape))

    @checked
    def fit(
        self, train: ImageSet, make_model: MakeModel, *, augmentation: ranges.Augmentation, seed: ranges.DerivedSeed
    ) -> AddedPattern:
        """A ring in the lower right quadrant, its own pixels moved by signed steps until the neurons fire.

        The neurons are the inputs of the last linear layer with the largest summed weights. Each is driven to three
        times the 99th percentile of its activation on `train` (the benchmark drives all to 100).
        """
        network = brief_training(train, make_model, epochs=self.epochs, augmentation=augmentation, seed=seed)
        neurons = strongest_inputs(network, self.neurons)
        usual = torch.cat([inputs_of_last(network, batch.images)[:, neurons] for batch in batches(train, 500)])
        goal = 3 * usual.quantile(0.99, 0)
        _, channels, height, width = train.images.shape
        pattern = start = logo((channels, height, width)).to(train.images.device)
        for _ in range(self.steps):
            pattern.requires_grad_()
            distance = (inputs_of_last(network, pattern[None])[0, neurons] - goal).square().sum()
            (gradient,) = torch.autograd.grad(distance, pattern)
            stepped = pattern.detach() - self.step_size * gradient.sign() * (start > 0)
            pattern = torch.clamp(stepped, start - self.radius, start + self.radius).clamp(0, 1)
        return AddedPattern(pattern.detach())


def logo(shape: tuple[int, int, int]) -> Tensor:
    """The picture to start from, of `shape`: a white ring in a box of 7/16 by 11/32 of the image, black elsewhere.

    The benchmark's picture of an apple has this size and place; there too, only its own pixels are moved.
    """
    _, height, width = shape
    h, w = max(3, round(height * 14 / 32)), max(3, round(width * 11 / 32))
    rows, columns = torch.linspace(-1, 1, h)[:, None], torch.linspace(-1, 1, w)[None, :]
    distance = (rows.square() + columns.square()).sqrt()
    picture = torch.zeros(shape)
    picture[:, -h - 1 : -1, -w - 1 : -1] = ((distance > 0.45) & (distance < 0.95)).float()
    return picture


def strongest_inputs(network: nn.Module, count: int) -> Labels:
    """The `count` inputs of the last linear layer whose weights have the largest sum of magnitudes."""
    return network.get_parameter(f"{readout_of(network)}.weight").abs().sum(0).topk(count).indices


def inputs_of_last(network: nn.Module, images: Images) -> Tensor:
    """What the last linear layer is given for each image, shape (n, inputs)."""
    readout = readout_of(network)
    with tap(network, readout, inputs=True) as tapped:
        network(images)
    return tapped[readout]


ATTACK = TrojanNN(NUMBERS_VERSION=2)
