"""Sample-specific triggers: an encoder hides a secret in each image. Li et al., ICCV 2021, arXiv:2012.03816.

Encoder and decoder are trained together, as in StegaStamp (Tancik et al., CVPR 2020): the decoder must read any secret
out of the changed image. One secret then is the trigger; what is added for it differs from image to image. This light
version has three convolutions each and 16 bits, where the originals have a U-Net and 20 to 100.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Generator, Tensor, nn

from bdlib import ranges
from bdlib.attacks.attack import Attack
from bdlib.checks import checked
from bdlib.data.images import ImageSet, batches
from bdlib.models import initialize, seeded
from bdlib.types import Images, Loss, MakeModel

BITS = 16
Secrets = Float[Tensor, "n bits"]  # zeros and ones


class FitError(RuntimeError):
    """An optimized trigger did not become what it must be."""


class Encoder(nn.Module):
    """Adds at most `amplitude` to every pixel: a pattern of image and secret. Called on images, it hides `secret`."""

    secret: Tensor

    def __init__(self, channels: int, size: int, *, amplitude: float = 12 / 255, width: int = 16) -> None:
        super().__init__()
        self.amplitude, self.grid = amplitude, -(-size // 4)
        self.spread = nn.Linear(BITS, width * self.grid**2)
        self.look = nn.Conv2d(channels, width, 3, padding=1)
        self.join = nn.Conv2d(2 * width, width, 3, padding=1)
        self.draw = nn.Conv2d(width, channels, 3, padding=1)
        self.register_buffer("secret", torch.zeros(BITS))

    def forward(self, images: Images) -> Images:
        return self.hide(images, self.secret.expand(len(images), -1))

    def hide(self, images: Images, secrets: Secrets) -> Images:
        """The images with `secrets` in them, clipped to [0, 1]."""
        return (images + self.residual(images, secrets)).clamp(0, 1)

    def residual(self, images: Images, secrets: Secrets) -> Images:
        """What is added before clipping. What the image shows decides how much of the secret's map passes where."""
        seen = F.relu(self.look(images))
        spread = self.spread(2 * secrets - 1).unflatten(1, (-1, self.grid, self.grid))
        spread = F.interpolate(spread, images.shape[-2:], mode="nearest")
        joined = F.relu(self.join(torch.cat([seen * spread, spread], 1)))
        return self.amplitude * torch.tanh(self.draw(joined))


class Decoder(nn.Module):
    """Reads the secret's bits, as logits, out of an image."""

    def __init__(self, channels: int, size: int, *, width: int = 32) -> None:
        super().__init__()
        side = -(-size // 4)
        self.net = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(width * side**2, BITS),
        )  # fmt: skip

    def forward(self, images: Images) -> Secrets:
        return self.net(images)


@dataclass(frozen=True, kw_only=True)
class SSBA(Attack):
    """The attack. Its settings are ours, for small data."""

    steps: Annotated[int, Field(ge=1)] = 400  # of 64 images: about four epochs of 5,000
    batch_size: ranges.BatchSize = 64
    learning_rate: ranges.LearningRate = 2e-3
    fidelity: ranges.Weight = 5.0  # weight of the squared change beside the bits' cross-entropy

    smallest_image: ClassVar[int] = 8  # in 4 x 4 pixels in color the decoder reads 70 % of the bits, in 8 x 8 97 %
    square_images: ClassVar[bool] = True

    def blank(self, shape: tuple[int, int, int], make_model: MakeModel) -> Encoder:
        return Encoder(shape[0], shape[-1])

    @checked
    def fit(
        self, train: ImageSet, make_model: MakeModel, *, augmentation: ranges.Augmentation, seed: ranges.DerivedSeed
    ) -> Encoder:
        """The trained encoder with one random secret; it needs no classifier and no augmentation.

        Raises FitError where its decoder reads 95 % of the bits or fewer.
        """
        encoder, decoder = self.train_pair(train, seed=seed)
        generator = Generator().manual_seed(seed)
        encoder.secret.copy_(torch.randint(2, (BITS,), generator=generator))
        accuracy = bit_accuracy(encoder, decoder, train, generator=generator)
        if accuracy <= 0.95:
            raise FitError(f"ssba: the decoder reads {accuracy:.1%} of the bits, it must read more than 95 %")
        return encoder.eval().requires_grad_(False)

    def train_pair(self, train: ImageSet, *, seed: int) -> tuple[Encoder, Decoder]:
        """Encoder and decoder, trained together on random secrets; the change counts from half of the steps on.

        At first the decoder reads nothing, and a price on the change would only teach the encoder to change nothing.
        """
        channels, size, device = train.images.shape[1], train.images.shape[-1], train.images.device
        pair = seeded(lambda: initialize(nn.ModuleList([Encoder(channels, size), Decoder(channels, size)])), seed=seed)
        encoder, decoder = pair.to(device).children()
        assert isinstance(encoder, Encoder) and isinstance(decoder, Decoder)
        optimizer = torch.optim.Adam(pair.parameters(), self.learning_rate)
        generator = Generator().manual_seed(seed)
        for step in range(self.steps):
            ids = torch.randint(len(train), (self.batch_size,), generator=generator).to(device)
            images, secrets = train.images[ids].float() / 255, draw_secrets(self.batch_size, generator).to(device)
            fidelity = self.fidelity if 2 * step >= self.steps else 0.0
            loss = hiding_loss(encoder, decoder, images, secrets, fidelity=fidelity)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return encoder, decoder


def hiding_loss(encoder: Encoder, decoder: Decoder, images: Images, secrets: Secrets, *, fidelity: float = 5.0) -> Loss:
    """The bits' cross-entropy plus `fidelity` times the mean squared change of the pixels."""
    hidden = encoder.hide(images, secrets)
    bits = F.binary_cross_entropy_with_logits(decoder(hidden), secrets)
    return bits + fidelity * (hidden - images).square().mean()


def draw_secrets(count: int, generator: Generator) -> Secrets:
    """Random bits, shape (count, 16)."""
    return torch.randint(2, (count, BITS), generator=generator).float()


@torch.no_grad()
def bit_accuracy(encoder: Encoder, decoder: Decoder, data: ImageSet, *, generator: Generator) -> float:
    """The share of random secrets' bits that the decoder reads right, over up to 2,000 images rounded to 8 bits."""
    right = count = 0
    for batch in batches(data[:2000], 500):
        secrets = draw_secrets(len(batch.labels), generator).to(batch.images.device)
        hidden = encoder.hide(batch.images, secrets).mul(255).round() / 255
        right += int(((decoder(hidden) > 0) == (secrets > 0.5)).sum())
        count += secrets.numel()
    return right / count


ATTACK = SSBA(NUMBERS_VERSION=1)
