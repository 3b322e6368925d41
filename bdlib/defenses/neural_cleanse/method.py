"""Neural Cleanse (NC). Wang et al., IEEE Symposium on Security and Privacy 2019, pages 707-723.

For each class it searches the smallest trigger that sends all clean images there. The target of a backdoor needs a much
smaller one than other classes do, and so stands out. The network is then fine-tuned on clean images of which some carry
this trigger and still have their own labels.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Generator, Tensor, nn

from bdlib import ranges
from bdlib.checks import checked
from bdlib.data.fit import probe
from bdlib.data.images import ImageSet
from bdlib.defenses.fine_tune import fine_tune
from bdlib.defenses.neural_cleanse.inversion import InvertedTrigger, invert_trigger
from bdlib.types import OnEvent, ignore

NUMBERS_VERSION = 1  # raise it when a change in this folder changes numbers
NORMAL = 1.4826  # makes the median deviation of normal numbers their standard deviation

Norms = Float[Tensor, " k"]  # of the inverted triggers' masks, by class; nan where none was found
Threshold = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]


@checked
def neural_cleanse(
    model: nn.Module,
    clean: ImageSet,
    *,
    inversion_epochs: ranges.Count = 80,  # for each class; BackdoorBench, as all but the threshold and fine-tuning
    least_success: ranges.PositiveFraction = 0.98,  # share of the images that a trigger must send to its class
    anomaly_threshold: Threshold = 2.0,  # of the anomaly index; paper and all released code
    stamped_share: ranges.Fraction = 0.2,  # of the clean images that get an inverted trigger
    epochs: ranges.CountOrZero = 10,  # this and all below: as fine_tune, to be compared with it; paper not seen
    learning_rate: ranges.LearningRate | None = 0.1,  # None: by fine_tune's rule, `highest_rate`
    milestone: ranges.CountOrZero = 2,
    batch_size: ranges.BatchSize = 64,  # of the search too; BackdoorBench: 256
    augmentation: ranges.Augmentation = 4,  # of fine-tuning alone
    seed: ranges.Seed = 0,
    on_event: OnEvent = ignore,
) -> nn.Module:
    """A repaired copy of `model`; `clean` is the defender's small trusted set. Where no class is flagged, a plain copy.

    Example::

        repaired = neural_cleanse(victim, clean, inversion_epochs=20, epochs=5)

    `on_event` is told "triggers" (an `InvertedTrigger` for each class), "anomaly" (the index of each class), "flagged"
    (a boolean for each class), and what fine-tuning tells. Raises ParameterError for a keyword out of range.
    """
    search: dict[str, Any] = dict(inversion_epochs=inversion_epochs, least_success=least_success, batch_size=batch_size)
    classes = probe(model, clean.images).shape[1]
    triggers = [invert_trigger(model, clean, target=target, seed=seed, **search) for target in range(classes)]
    on_event("triggers", triggers)
    norms = torch.tensor([trigger.norm for trigger in triggers], dtype=torch.float64)
    anomaly, flagged = anomaly_index(norms), flagged_classes(norms, anomaly_threshold)
    on_event("anomaly", anomaly)
    on_event("flagged", flagged)
    suspects = [trigger for trigger, is_flagged in zip(triggers, flagged.tolist(), strict=True) if is_flagged]
    stamped = stamped_set(clean, suspects, stamped_share=stamped_share, seed=seed)
    return fine_tune(model, stamped, epochs=epochs if suspects else 0, learning_rate=learning_rate if suspects else 0.1,
                     milestone=milestone, batch_size=batch_size, augmentation=augmentation, seed=seed,
                     on_event=on_event)  # fmt: skip


def anomaly_index(norms: Norms) -> Norms:
    """How many standard deviations each norm is from the median, if norms were normal; 0 where all are equal.

    The deviation is estimated by the median of the distances from the median. Medians of an even number of values are
    the mean of the two in the middle. Classes without a trigger have no part in it, and the index nan.

    Example: `anomaly_index(torch.tensor([4.0, 50, 55, 60, 65]))[0]` is 6.9.
    """
    known = norms[norms.isfinite()].double()
    if not len(known):
        return torch.full_like(norms, torch.nan)
    distances = (known - known.quantile(0.5)).abs()
    index = (norms.double() - known.quantile(0.5)).abs() / (NORMAL * distances.quantile(0.5))
    return torch.where(norms == known.quantile(0.5), torch.zeros_like(index), index)


def flagged_classes(norms: Norms, anomaly_threshold: float = 2.0) -> Bool[Tensor, " k"]:
    """The classes whose triggers are outliers, and smaller than the median."""
    return (anomaly_index(norms) > anomaly_threshold) & (norms < norms.nanquantile(0.5))


def stamped_set(clean: ImageSet, triggers: Sequence[InvertedTrigger], *, stamped_share: float, seed: int) -> ImageSet:
    """The images, of which a random share carries one of the triggers, in turn; every image keeps its true label.

    BackdoorBench stamps the same images once with each trigger, so that its set grows with the triggers. It also
    stretches mask and trigger to the full range of a PNG file first, which makes faint ones strong.
    """
    if not triggers:
        return clean
    generator = Generator().manual_seed(seed)
    chosen = torch.randperm(len(clean), generator=generator)[: round(stamped_share * len(clean))]
    images = clean.images.clone()
    for number, trigger in enumerate(triggers):
        mine = chosen[number :: len(triggers)].to(images.device)
        pixels = trigger(images[mine].float() / 255).clamp(0, 1)
        images[mine] = (pixels * 255).round().to(torch.uint8)
    return ImageSet(images, clean.labels)
