"""What a detector returns, and the features of an image that detectors of training images look at."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bdlib.checks import checked
from bdlib.data.images import ImageSet, batches
from bdlib.models import evaluation_mode, readout_of, tap
from bdlib.types import Labels

Positions = Int[Tensor, " m"]  # of images in their set


class Detection(NamedTuple):
    """For each image, in the order in which they were given, how suspicious it is and whether that is too much."""

    suspicion: Float[Tensor, " n"]  # the higher, the more suspicious; only the order means something
    flagged: Bool[Tensor, " n"]  # the detector's own decision


@checked
@torch.no_grad()
def features(model: nn.Module, data: ImageSet) -> Float[Tensor, "n d"]:
    """The vector that the network's last linear layer reads, of every image, shape (n, d), in double precision.

    Raises ParameterError for a network without a linear layer. Example: `features(victim, poisoned).shape`
    """
    readout = readout_of(model)
    rows = []
    with evaluation_mode(model), tap(model, readout, inputs=True) as tapped:
        for batch in batches(data, 500):
            model(batch.images)
            rows.append(tapped[readout].flatten(1).double())
    return torch.cat(rows)


def of_each_class(labels: Labels) -> list[Positions]:
    """The positions of the images of each class that has any, classes in ascending order."""
    return [(labels == label).nonzero().squeeze(1) for label in labels.unique()]
