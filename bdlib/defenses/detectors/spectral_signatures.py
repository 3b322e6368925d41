"""Spectral signatures. Tran, Li, Madry, NeurIPS 2018, arXiv:1811.00636.

A network that has learned a backdoor keeps poisoned and clean images of one class apart in its features. While the
poisoned ones are few, the direction in which the features of a class vary most points from the clean ones to them. So
an image is as suspicious as its features lie far along that direction.
"""

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from bdlib import ranges
from bdlib.checks import checked
from bdlib.data.images import ImageSet
from bdlib.defenses.detectors.detection import Detection, features, of_each_class

NUMBERS_VERSION = 1  # raise it when a change here changes numbers
REMOVED = 1.5  # times the expected number of poisoned images is removed; paper, algorithm 1


@checked
def spectral_signatures(
    model: nn.Module,
    poisoned: ImageSet,
    *,
    expected_share: Annotated[float, Field(gt=0, le=0.5)] = 0.1,  # of each class; removes 15 %, as the released code
    variant: ranges.Variant = "paper",  # released: see `spectral_scores`
) -> Detection:
    """The suspicion of every image of a set on which `model` was trained, within the class that its label names.

    Flagged are the 1.5 `expected_share` most suspicious images of each class, at most half of it. The defender does not
    know the true share and guesses; every class loses as many, so most flagged images of clean classes are clean.

    Raises ParameterError for a keyword out of range, and for a network without a linear layer.

    Example::

        detection = spectral_signatures(victim, poisoned, expected_share=0.05)
    """
    vectors, labels = features(model, poisoned), poisoned.labels
    suspicion = torch.zeros(len(labels), dtype=torch.float64, device=labels.device)
    flagged = torch.zeros_like(labels, dtype=torch.bool)
    for members in of_each_class(labels):
        suspicion[members] = spectral_scores(vectors[members], variant=variant)
        removed = min(round(REMOVED * expected_share * len(members)), len(members) // 2)
        flagged[members[suspicion[members].argsort(descending=True, stable=True)[:removed]]] = True
    return Detection(suspicion, flagged)


def spectral_scores(vectors: Float[Tensor, "n d"], *, variant: str = "paper") -> Float[Tensor, " n"]:
    """The squared distance of each vector from their mean along the direction of largest variance.

    "released" finds the direction in the same way, but then forgets the mean: its score is the squared length of the
    vector along the direction, counted from zero.
    """
    centered = vectors - vectors.mean(0)
    direction = torch.linalg.svd(centered, full_matrices=False).Vh[0]
    return ((vectors if variant == "released" else centered) @ direction).square()
