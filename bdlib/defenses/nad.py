"""Neural attention distillation (NAD). Li et al., ICLR 2021, arXiv:2101.05930.

A copy of the backdoored model, fine-tuned on a few clean images, has half forgotten the backdoor: the teacher. A second
copy is fine-tuned while its attention maps are pulled towards the teacher's, to unlearn the rest.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from bdlib.data.images import ImageSet
from bdlib.defenses.fine_tune import fine_tune
from bdlib.models import tap
from bdlib.types import Batch, Loss

Maps = Float[Tensor, "n c h w"]  # the activations of one layer


def nad(
    model: nn.Module,
    clean: ImageSet,
    *,
    layers: Sequence[str] = ("layer1", "layer2", "layer3"),  # the residual groups of WRN-16-1
    beta: Sequence[float] = (500.0, 1000.0, 1000.0),  # a layer each; paper not seen, released code since 2022
    power: float = 2.0,  # p of the attention map; paper and released code
    teacher_epochs: int = 10,  # paper: 5 to 10
    student_epochs: int = 10,  # paper; 20 in the released code since 2022
    learning_rate: float = 0.1,  # paper not seen; released code
    milestone: int = 2,  # the rate is a tenth from this epoch on; released code
    batch_size: int = 64,  # released code
    augmentation: int | None = 4,  # pixels of random crop; paper and released code
    variant: Literal["paper", "released"] = "paper",
    seed: int = 0,
) -> nn.Module:
    """A repaired copy of `model`; `clean` is the defender's small trusted set. The two stages are the paper's.

    `variant="released"`: attention terms without gradient, as until 2022. Raises ValueError if a layer has no beta.
    """
    teacher = fine_tune(model, clean, epochs=teacher_epochs, learning_rate=learning_rate,
                        milestone=milestone, batch_size=batch_size, augmentation=augmentation,
                        seed=seed + 1)  # its own shuffles, else the student would retrace its steps  # fmt: skip
    return distill(model, teacher, clean, layers=layers, beta=beta, power=power, epochs=student_epochs,
                  learning_rate=learning_rate, milestone=milestone, batch_size=batch_size,
                  augmentation=augmentation, variant=variant, seed=seed)  # fmt: skip


def distill(
    model: nn.Module,
    teacher: nn.Module,
    clean: ImageSet,
    *,
    layers: Sequence[str] = ("layer1", "layer2", "layer3"),
    beta: Sequence[float] = (500.0, 1000.0, 1000.0),
    power: float = 2.0,
    epochs: int = 10,
    learning_rate: float = 0.1,
    milestone: int = 2,
    batch_size: int = 64,
    augmentation: int | None = 4,
    variant: Literal["paper", "released"] = "paper",
    seed: int = 0,
) -> nn.Module:
    """The student: a copy of `model`, not of the teacher, fine-tuned to fit the labels and the teacher's attention."""
    weights = dict(zip(layers, beta, strict=True))

    def loss_fn(student: nn.Module, batch: Batch) -> Loss:
        with tap(student, *layers) as student_sees:
            fit = F.cross_entropy(student(batch.images), batch.labels)
        with tap(teacher, *layers) as teacher_sees, torch.no_grad():
            teacher(batch.images)
        distances = [
            weight * attention_distance(student_sees[layer], teacher_sees[layer], power)
            for layer, weight in weights.items()
        ]
        disagreement = torch.stack(distances).sum()
        return fit + (disagreement.detach() if variant == "released" else disagreement)

    teacher.eval()
    return fine_tune(model, clean, epochs=epochs, learning_rate=learning_rate, milestone=milestone,
                     batch_size=batch_size, augmentation=augmentation, seed=seed, loss_fn=loss_fn)  # fmt: skip


def attention(features: Maps, power: float = 2.0) -> Float[Tensor, "n hw"]:
    """Where the network looks: powers of absolute activations, summed over channels, at unit length for each image.

    Raises ValueError for maps of one pixel: scaled, they are all equal to one, and their loss has no gradient.
    """
    if features.shape[2] * features.shape[3] == 1:
        raise ValueError("layers: attention needs feature maps larger than 1x1")
    energy = features.float().abs().pow(power).sum(1).flatten(1)
    return energy / (energy.norm(dim=1, keepdim=True) + 1e-6)


def attention_distance(student: Maps, teacher: Maps, power: float = 2.0) -> Loss:
    """Mean squared difference of two attention maps over images and pixels; between 0 and 2 / (h w)."""
    return F.mse_loss(attention(student, power), attention(teacher, power))
