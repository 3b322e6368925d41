"""The smallest trigger that sends all images to one class: a mask and a pattern, found by gradient descent.

Stage of Neural Cleanse. Wang et al., IEEE S&P 2019, pages 707-723; schedule of the mask's weight as in BackdoorBench.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from bdlib import ranges
from bdlib.checks import checked
from bdlib.data.images import ImageSet, batches
from bdlib.models import evaluation_mode
from bdlib.types import Images

FIRST_WEIGHT = 1e-3  # lambda, of the mask's size; BackdoorBench, as all below
FACTOR = 2.0  # c: lambda is multiplied by it, or divided by its power 1.5
PATIENCE = 5  # epochs in a row, after which lambda changes
RATE, BETAS = 0.1, (0.5, 0.9)  # of Adam
IMPROVEMENT = 0.99  # of the smallest mask, below which it counts as improved
STALE_EPOCHS = 25  # without an improvement, after which the search ends

Mask = Float[Tensor, "1 h w"]  # in [0, 1]
Pattern = Float[Tensor, "c h w"]  # pixels in [0, 1]


@dataclass(frozen=True)
class InvertedTrigger:
    """What was found for one class. A function of images in [0, 1], as other triggers are."""

    target: int
    mask: Mask
    pattern: Pattern
    success: float  # share of the clean images that it sends to the class, in the epoch in which it was found
    is_found: bool  # whether `success` reached the threshold; else the mask says nothing

    @property
    def norm(self) -> float:
        """The sum of the mask, in pixels; nan where no trigger was found."""
        return float(self.mask.double().sum()) if self.is_found else float("nan")

    def __call__(self, images: Images) -> Images:
        """The images with the trigger."""
        return stamp(images, self.mask, self.pattern)


def stamp(images: Images, mask: Mask, pattern: Pattern) -> Images:
    """(1 - mask) images + mask pattern."""
    return (1 - mask) * images + mask * pattern


@checked
def invert_trigger(
    model: nn.Module,
    clean: ImageSet,
    *,
    target: ranges.CountOrZero,
    inversion_epochs: ranges.Count = 80,
    least_success: ranges.PositiveFraction = 0.98,
    batch_size: ranges.BatchSize = 256,
    seed: ranges.Seed = 0,
) -> InvertedTrigger:
    """The smallest mask, with its pattern, that sends at least `least_success` of the images to class `target`.

    Both are the hyperbolic tangent of what is trained, from a random start. Labels are not looked at. After five
    epochs in a row with enough success the mask's weight rises; after as many without, it falls. The search ends early
    once the weight has gone both ways and nothing has improved for a while. No weight of the model gets a gradient.

    Three things differ from released code. Masks are compared as they are at the end of an epoch, which is when they
    are kept; released code compares the mean of their sums before each step, so that it may keep a larger mask and stop
    at another epoch. BackdoorBench starts from ones and averages the success over batches; the authors' code starts at
    random, averages over images, and begins with a weight of 0 until there is success.

    Example: `invert_trigger(victim, clean, target=0).norm`
    """
    generator = Generator().manual_seed(seed)
    _, channels, height, width = clean.images.shape
    sizes = [(1, height, width), (channels, height, width)]
    raw = [(torch.rand(size, generator=generator) * 2 - 1).mul(0.999).atanh().to(clean.labels.device) for size in sizes]
    optimizer = torch.optim.Adam([values.requires_grad_() for values in raw], RATE, betas=BETAS)
    weight, best = _MaskWeight(), _Best(target, least_success)
    with evaluation_mode(model):
        for _ in range(inversion_epochs):
            hits = 0
            for batch in batches(clean, batch_size, generator=generator):
                mask, pattern = (torch.tanh(values) / 2 + 0.5 for values in raw)
                logits = model(stamp(batch.images, mask, pattern))
                wanted = torch.full_like(batch.labels, target)
                loss = F.cross_entropy(logits, wanted) + weight.value * mask.sum()
                for values, slope in zip(raw, torch.autograd.grad(loss, raw), strict=True):
                    values.grad = slope
                optimizer.step()
                hits += int((logits.argmax(1) == target).sum())
            best.offer(raw, hits / len(clean))
            weight.update(hits / len(clean) >= least_success)
            if weight.went_both_ways and best.stale >= STALE_EPOCHS:
                break
    assert best.trigger is not None  # there is at least one epoch
    return best.trigger


class _MaskWeight:
    """Lambda, which follows the success of the last epochs."""

    def __init__(self) -> None:
        self.value = FIRST_WEIGHT
        self.above = self.below = 0  # epochs in a row
        self.rose = self.fell = False

    def update(self, is_success: bool) -> None:
        self.above, self.below = (self.above + 1, 0) if is_success else (0, self.below + 1)
        if self.above >= PATIENCE:
            self.value, self.above, self.rose = self.value * FACTOR, 0, True
        if self.below >= PATIENCE:
            self.value, self.below, self.fell = self.value / FACTOR**1.5, 0, True

    @property
    def went_both_ways(self) -> bool:
        return self.rose and self.fell


class _Best:
    """The smallest mask so far with enough success, or else the one of most success."""

    def __init__(self, target: int, least_success: float) -> None:
        self.target, self.least_success = target, least_success
        self.trigger: InvertedTrigger | None = None
        self.stale = 0

    def offer(self, raw: list[Tensor], success: float) -> None:
        """Keep what this epoch has made, if it is better."""
        mask, pattern = (torch.tanh(values.detach()) / 2 + 0.5 for values in raw)
        new = InvertedTrigger(self.target, mask, pattern, success, success >= self.least_success)
        old, self.stale = self.trigger, self.stale + 1
        if old is None or (new.is_found and not old.is_found):
            self.trigger, self.stale = new, 0
        elif new.is_found and new.norm < old.norm:
            self.stale = 0 if new.norm < IMPROVEMENT * old.norm else self.stale
            self.trigger = new
        elif not old.is_found and new.success > old.success:
            self.trigger = new
