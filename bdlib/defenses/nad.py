"""Neural attention distillation (NAD). Li et al., ICLR 2021, arXiv:2101.05930.

A copy of the backdoored model is fine-tuned on a few clean images and forgets a part of the backdoor: the teacher. A
second copy, the student, is fine-tuned while its attention maps are pulled towards the teacher's, to unlearn the rest.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from bdlib import ranges
from bdlib.checks import ParameterError, checked, needs
from bdlib.data.images import ImageSet
from bdlib.defenses.fine_tune import fine_tune
from bdlib.models import default_layers, require_maps, tap
from bdlib.types import Batch, Loss, OnEvent, ignore

NUMBERS_VERSION = 1  # raise it when a change here changes numbers
Maps = Float[Tensor, "n c *grid"]  # the activations of one layer
Layers = (
    Annotated[Sequence[str], Field(min_length=1)] | None
)  # None: the network's own, the residual groups of WRN-16-1
Betas = Sequence[Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]]  # one for each layer
Power = Annotated[float, Field(ge=1, le=8, allow_inf_nan=False)]


def attention_layers(model: nn.Module, clean: ImageSet, layers: Layers, beta: Betas) -> dict[str, float]:
    """The weight of each layer's distance, by its name.

    Raises ParameterError unless there is one for each layer, and all layers give out maps larger than one pixel.
    """
    names = layers or default_layers(model, "attention")
    if len(names) != len(beta):
        raise ParameterError(f"beta={list(beta)}: must have {len(names)} numbers, one for each of {', '.join(names)}")
    for name, (*_, h, w) in zip(names, require_maps(model, clean.images, *names), strict=True):
        if h * w == 1:
            raise ParameterError(f"layers={name!r}: must give out maps larger than one pixel, or attention is constant")
    return dict(zip(names, beta, strict=True))


@checked
@needs(attention_layers)
def nad(
    model: nn.Module,
    clean: ImageSet,
    *,
    layers: Layers = None,
    beta: Betas = (500.0, 1000.0, 1000.0),  # paper not seen, released code since 2022
    power: Power = 2.0,  # p of the attention map; paper and released code
    teacher_epochs: ranges.Count = 10,  # paper: 5 to 10
    student_epochs: ranges.Count = 10,  # paper; 20 in the released code since 2022
    learning_rate: ranges.LearningRate = 0.1,  # paper not seen; released code
    milestone: ranges.CountOrZero = 2,  # the rate is a tenth from this epoch on; released code: 0.01
    batch_size: ranges.BatchSize = 64,  # released code
    augmentation: ranges.Augmentation = 4,  # paper and released code
    variant: ranges.Variant = "paper",
    seed: ranges.Seed = 0,
    on_event: OnEvent = ignore,
) -> nn.Module:
    """A repaired copy of `model`; `clean` is the defender's small trusted set. The two stages are the paper's.

    Example::

        repaired = nad(victim, clean, layers=["layer2", "layer3"], beta=[200.0, 250.0])

    `variant="released"`: attention terms without gradient, as until 2022. `on_event` is told "teacher" (a network) and
    "epoch" (`bdlib.training.loop.Epoch`) after each epoch of the student. Raises ParameterError for a layer that does
    not exist or gives out no feature maps, for a number of `beta` that is not that of `layers`, and for a keyword out
    of range.
    """
    tuning: dict[str, Any] = dict(
        learning_rate=learning_rate, milestone=milestone, batch_size=batch_size, augmentation=augmentation
    )
    # The teacher has shuffles of its own, else the student would retrace its steps.
    teacher = fine_tune(model, clean, epochs=teacher_epochs, seed=(seed + 1) % 2**31, **tuning)
    on_event("teacher", teacher)
    return distill(model, teacher, clean, layers=layers, beta=beta, power=power, variant=variant,
                   epochs=student_epochs, seed=seed, on_event=on_event, **tuning)  # fmt: skip


@checked
def distill(
    model: nn.Module, teacher: nn.Module, clean: ImageSet, *,
    layers: Layers = None, beta: Betas = (500.0, 1000.0, 1000.0), power: Power = 2.0, variant: ranges.Variant = "paper",
    **fine_tuning: Any,
) -> nn.Module:  # fmt: skip
    """The student: a copy of `model`, not of the teacher, fine-tuned to fit the labels and the teacher's attention.

    `fine_tuning` are keywords of `fine_tune`: `epochs`, `learning_rate` and so on.
    """
    weights = attention_layers(model, clean, layers, beta)

    def loss_fn(student: nn.Module, batch: Batch) -> Loss:
        with tap(student, *weights) as student_maps:
            fit = F.cross_entropy(student(batch.images), batch.labels)
        with tap(teacher, *weights) as teacher_maps, torch.no_grad():
            teacher(batch.images)
        distances = [
            weight * attention_distance(student_maps[layer], teacher_maps[layer], power)
            for layer, weight in weights.items()
        ]
        disagreement = torch.stack(distances).sum()
        return fit + (disagreement.detach() if variant == "released" else disagreement)

    teacher.eval()
    return fine_tune(model, clean, loss_fn=loss_fn, **fine_tuning)


def attention(features: Maps, power: float = 2.0) -> Float[Tensor, "n hw"]:
    """Where the network looks: powers of absolute activations, summed over channels, at unit length for each image.

    Raises ValueError for activations that are no maps, such as a transformer's tokens, and for maps of one pixel: at
    unit length these are all equal to one, and their loss has no gradient.
    """
    if features.dim() != 4 or features[0, 0].numel() == 1:
        shape = tuple(features.shape)
        raise ValueError(f"layers: attention needs maps of shape (n, c, h, w) larger than one pixel, not {shape}")
    energy = features.float().abs().pow(power).sum(1).flatten(1)
    return energy / (energy.norm(dim=1, keepdim=True) + 1e-6)


def attention_distance(student: Maps, teacher: Maps, power: float = 2.0) -> Loss:
    """Mean squared difference of two attention maps over images and pixels; between 0 and 2 / (h w)."""
    return F.mse_loss(attention(student, power), attention(teacher, power))
