"""What the workshop's tools are shown beside a network: images with and without the trigger, and its place."""

from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import AllToOne, AttackedSet, attacked_set
from bdlib.types import Trigger

LOCAL = 0.5  # a trigger that changes a larger share of the pixels has no place in the image

Region = Bool[Tensor, "h w"]


class Look(NamedTuple):
    """What a tool is shown, beside the network."""

    attacked: AttackedSet
    trigger: Trigger
    layer: str
    target_label: int
    region: Region | None  # pixels that the trigger changes; None where it is all over the image
    cells: int  # a side of the grid of superpixels
    orders: int  # random orders of the cells


def looking_at(
    test: ImageSet, trigger: Trigger, *, layer: str, looked_at: int, cells: int, orders: int, target_label: int
) -> Look:
    """The first test images of other classes with their triggered copies, and where the trigger is."""
    others = test[test.labels != target_label][:looked_at]
    attacked = attacked_set(others, trigger, AllToOne(target_label))
    changed = (attacked.triggered.images != attacked.clean.images).any(1).double().mean(0) > 0.05
    share = changed.double().mean().item()
    return Look(attacked, trigger, layer, target_label, changed if 0 < share <= LOCAL else None, cells, orders)


def mixed(attacked: AttackedSet) -> tuple[ImageSet, Bool[Tensor, " n"]]:
    """Three clean images for each triggered one, of other images, and which are triggered."""
    count = len(attacked.clean) // 4
    images = torch.cat([attacked.clean.images[count:], attacked.triggered.images[:count]])
    labels = torch.cat([attacked.clean.labels[count:], attacked.triggered.labels[:count]])
    return ImageSet(images, labels), torch.arange(len(labels), device=labels.device) >= len(labels) - count


def quadrant(region: Region) -> Region:
    """The quadrant of the image that holds most of the region."""
    middle = region.shape[0] // 2, region.shape[1] // 2
    parts = []
    for rows in (slice(0, middle[0]), slice(middle[0], None)):
        for columns in (slice(0, middle[1]), slice(middle[1], None)):
            part = torch.zeros_like(region)
            part[rows, columns] = True
            parts.append(part)
    return max(parts, key=lambda part: int((part & region).sum()))


def touched_cells(region: Region, cells: int) -> Bool[Tensor, "g g"]:
    """The cells of the grid in which the region is."""
    height, width = region.shape[0] // cells, region.shape[1] // cells
    return region.unflatten(1, (cells, width)).unflatten(0, (cells, height)).any(3).any(1)
