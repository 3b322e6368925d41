"""STRIP: strong intentional perturbation. Gao et al., ACSAC 2019, arXiv:1902.06531.

Lay other images over a query and look at the predictions. A clean query becomes something else each time, so the
predictions vary. A trigger that shows through the overlay gives the attacker's label every time, so they hardly do. A
query whose predictions are too certain is refused.
"""

from typing import Annotated, Literal

import torch
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Generator, Tensor, nn

from bdlib import ranges
from bdlib.checks import ParameterError, checked
from bdlib.data.images import ImageSet
from bdlib.defenses.detectors.detection import Detection
from bdlib.models import evaluation_mode
from bdlib.types import OnEvent, Pixels, ignore

NUMBERS_VERSION = 1  # raise it when a change here changes numbers
BATCH = 500  # queries that go through the network together; it changes no number
SMALLEST = 1e-8  # probability in the logarithm

Blend = Literal["add", "mean"]
Entropies = Float[Tensor, " n"]  # nats
Overlays = UInt8[Tensor, "m c h w"]  # as `Pixels`


@checked
def strip(
    model: nn.Module,
    clean: ImageSet,
    queries: Pixels,
    *,
    overlays: Annotated[int, Field(ge=1, le=10_000)] = 100,  # clean images laid over each query; paper: 100
    blend: Blend = "add",  # released code: pixels are added; "mean": their mean
    false_rejection_rate: ranges.Fraction = 0.01,  # of clean queries, that the defender bears; paper: 1 %
    calibration_images: Annotated[int, Field(ge=1, le=100_000)] = 2000,  # at most; released code
    seed: ranges.Seed = 0,
    on_event: OnEvent = ignore,
) -> Detection:
    """The suspicion of every query, the negative of the mean entropy of its predictions under the overlays.

    `clean` are the defender's images. Overlays are drawn from them, the same for all queries. Flagged is a query whose
    entropy is below the `false_rejection_rate` quantile of the entropies of the clean images. A query costs `overlays`
    passes through the network in place of one. `on_event` is told "clean_entropies" and "threshold", in nats.

    Raises ParameterError for a keyword out of range, and for queries of another shape than the clean images.

    Example::

        refused = strip(victim, clean, test.images).flagged
    """
    if queries.shape[1:] != clean.images.shape[1:] or not len(queries):
        shape = tuple(clean.images.shape[1:])
        raise ParameterError(f"queries: must be one or more images of shape {shape}, not {tuple(queries.shape)}")
    order = torch.randperm(len(clean), generator=Generator().manual_seed(seed)).to(clean.labels.device)
    laid_over = clean.images[order[:overlays]]
    expected = entropies(model, clean.images[order[-calibration_images:]], laid_over, blend=blend)
    threshold = expected.quantile(false_rejection_rate)
    on_event("clean_entropies", expected)
    on_event("threshold", threshold.item())
    found = entropies(model, queries, laid_over, blend=blend)
    return Detection(-found, found < threshold)


@torch.no_grad()
def entropies(model: nn.Module, queries: Pixels, overlays: Overlays, *, blend: Blend = "add") -> Entropies:
    """For each query, the mean over the overlays of the entropy of the prediction, in nats, from 0 to log(classes).

    "add" adds the pixels and cuts what is above 1, as 8-bit images do; "mean" takes the mean of both images.
    """
    found = []
    with evaluation_mode(model):
        for start in range(0, len(queries), BATCH):
            part = queries[start : start + BATCH]
            images, total = part.float() / 255, torch.zeros(len(part), dtype=torch.float64, device=part.device)
            for overlay in overlays:
                mixed = images + overlay.float() / 255
                total += entropy(model(mixed / 2 if blend == "mean" else mixed.clamp(max=1)))
            found.append(total / len(overlays))
    return torch.cat(found)


def entropy(logits: Float[Tensor, "n k"]) -> Entropies:
    """The entropy of each prediction, in nats: 0 for a certain one, log(k) where all classes are as likely."""
    probabilities = logits.double().softmax(1)
    return -(probabilities * probabilities.clamp(min=SMALLEST).log()).sum(1)
