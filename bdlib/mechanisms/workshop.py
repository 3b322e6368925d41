"""What each tool of the workshop reads in a victim, in its repair and in the clean twin, by one number each.

`READINGS` says how a reading is compared with the twin's. The rules are
the same for all attacks and settings.
"""

from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

from pydantic import Field
from torch import nn

from bdlib.checks import checked
from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import TargetLabel
from bdlib.evaluation.similarity import same_layer
from bdlib.mechanisms import workshop_readings as read
from bdlib.mechanisms.workshop_look import Look, looking_at
from bdlib.types import Trigger

NUMBERS_VERSION = 1  # raise it when a change here or in the tools changes numbers
Rule = Literal["share", "ratio", "outlier"]


class Reading(NamedTuple):
    """How a tool is read, and by which rule the reading counts as seen."""

    read: Callable[[nn.Module, Look], float]
    rule: Rule  # share: 0.2 from the twin's; ratio: twice or half the twin's; outlier: above 3, the twin's not
    needs_place: bool = False  # only where the trigger has a place in the image


READINGS = {
    "confusion": Reading(read.confusion, "share"),
    "neuron": Reading(read.neuron, "ratio"),
    "change": Reading(read.change, "ratio"),
    "purity": Reading(read.purity, "share"),
    "grad_cam": Reading(read.cam, "share", needs_place=True),
    "shapley": Reading(read.shapley, "share", needs_place=True),
    "frequency": Reading(read.frequency, "share"),
    "island": Reading(read.island, "share"),
    "lipschitz": Reading(read.lipschitz, "outlier"),
    "landscape": Reading(read.landscape, "ratio"),
    "curvature": Reading(read.curvature, "ratio"),
}


@checked
def workshop(
    model: nn.Module,
    defended: nn.Module,
    twin: nn.Module,
    test: ImageSet,
    trigger: Trigger,
    *,
    layer: Annotated[str, Field(min_length=1)],
    looked_at: Annotated[int, Field(ge=40, le=100_000)] = 400,  # test images, of other classes than the target
    cells: Annotated[int, Field(ge=2, le=64)] = 7,  # a side of the grid of superpixels
    orders: Annotated[int, Field(ge=1, le=10_000)] = 16,  # random orders of the cells for Shapley values
    target_label: TargetLabel,
) -> dict[str, float]:
    """Each tool's reading of the three networks on the same images, as `grad_cam_victim`, `_repair` and `_twin`.

    Maps are of `layer`. Tools that show a place are left out where the trigger is all over the image.
    """
    look = looking_at(
        test, trigger, layer=layer, looked_at=looked_at, cells=cells, orders=orders, target_label=target_label
    )
    measured = {}
    for which, network in (("victim", model), ("repair", defended), ("twin", twin)):
        own = look._replace(layer=same_layer(network, layer))
        for name, reading in READINGS.items():
            if look.region is not None or not reading.needs_place:
                measured[f"{name}_{which}"] = float(reading.read(network, own))
    return measured


def is_seen(name: str, value: float, twin: float) -> bool:
    """Whether a tool's reading counts as different from the clean twin's, by the tool's rule.

    Example: `is_seen("island", 0.98, 0.26)` is True: shares must be 0.2 apart.
    """
    rule = READINGS[name].rule
    if rule == "share":
        return bool(abs(value - twin) >= 0.2)
    if rule == "ratio":
        return bool(value >= 2 * twin or 2 * value <= twin)
    return bool(value > 3 >= twin)
