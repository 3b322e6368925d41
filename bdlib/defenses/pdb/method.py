"""Proactive defensive backdoor (PDB). Wei, Zha & Wu, NeurIPS 2024, arXiv:2405.16112.

The defender trains the network, and plants a backdoor of its own. It adds clean images with a secret trigger, and moves
their labels by a bijection. Later it puts this trigger on every query and moves the answer back. The network then
follows the defender's backdoor where it would follow the attacker's. The attacker's backdoor is not removed: the
weights alone still have it.
"""

from copy import deepcopy
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, nn

from bdlib import ranges
from bdlib.checks import ParameterError, checked, needs
from bdlib.data.fit import probe
from bdlib.data.images import ImageSet, augment
from bdlib.defenses.pdb.defensive_backdoor import DefensiveModel, DefensiveTrigger, Shape, shifted_labels
from bdlib.defenses.pdb.released_augmentation import dim_and_rotate
from bdlib.runtime import AddedAt
from bdlib.training.loop import Schedule, steps
from bdlib.types import Batch, Labels, Loss, LossFn, MakeModel, OnEvent, ignore

NUMBERS_VERSION = 1  # raise it when a change in this folder changes numbers


def require_defense(
    make_model: MakeModel, clean: ImageSet, defensive_trigger: Shape, defensive_trigger_size: int, label_shift: int
) -> None:
    """Raise ParameterError for a defensive trigger that covers the image, and a shift of as many classes as there are.

    A shift of 0 is allowed, as a control.
    """
    DefensiveTrigger(defensive_trigger, defensive_trigger_size, 0.0).mask(*clean.images.shape[-2:])
    classes = probe(make_model(), clean.images, name="make_model()").shape[1]
    if label_shift >= classes:
        raise ParameterError(f"label_shift={label_shift}: must be from 0 to {classes - 1}, for {classes} classes")


@checked
@needs(require_defense)
def pdb(
    make_model: MakeModel,
    poisoned: ImageSet,
    clean: ImageSet,
    *,
    defensive_trigger: Shape = "corner",  # paper not seen; released code, as all below
    defensive_trigger_size: Annotated[int, Field(ge=1, le=64)] = 7,  # pixels: a frame's width, a corner square's side
    defensive_trigger_value: Annotated[float, Field(ge=0, le=255, allow_inf_nan=False)] = 2.0,  # pixels end at 1
    defensive_trigger_moves: bool = True,  # put on before the augmentation, which shifts and mirrors it; else after
    label_shift: Annotated[int, Field(ge=0, le=199)] = 1,  # h(y) = (y + shift) mod K
    sampling_frequency: Annotated[int, Field(ge=0, le=100)] = 5,  # how often an epoch has each clean image
    epochs: ranges.CountOrZero = 100,
    learning_rate: ranges.LearningRate = 0.01,
    anneal: Literal["constant", "cosine", "one_cycle"] = "cosine",
    batch_size: ranges.BatchSize = 256,
    augmentation: ranges.Augmentation = 4,
    variant: Annotated[ranges.Variant, AddedAt("paper")] = "paper",  # the paper's augmentation was not seen
    seed: ranges.Seed = 0,
    on_event: OnEvent = ignore,
) -> DefensiveModel:
    """A network trained from scratch on `poisoned` and on `clean` images with the defensive trigger, ready for use.

    Example::

        defended = pdb(make_model, poisoned, clean, defensive_trigger="frame", defensive_trigger_size=1)

    `clean` should share no image with `poisoned`. `defensive_trigger="none"` is the control: the same images, steps and
    schedule, without trigger or moved label. `variant="released"` also dims and rotates the clean images with the
    defensive trigger at random, as the released code does (`dim_and_rotate`). `on_event` is told "snapshots": the
    weights after at most ten epochs, by the epoch's number. Raises ParameterError for a keyword out of range, and what
    `require_defense` raises.
    """
    network = make_model()
    own_trigger = DefensiveTrigger(defensive_trigger, defensive_trigger_size, defensive_trigger_value)
    shift = label_shift if defensive_trigger != "none" else 0
    relabel = shifted_labels(probe(network, clean.images).shape[1], shift).to(clean.labels.device)
    added = defensive_set(clean, relabel, sampling_frequency)
    both = ImageSet(torch.cat([poisoned.images, added.images]), torch.cat([poisoned.labels, added.labels]))
    loss_fn = defensive_loss(own_trigger, len(poisoned), defensive_trigger_moves=defensive_trigger_moves,
                             augmentation=augmentation, variant=variant, seed=seed + 1)  # fmt: skip
    schedule = Schedule(epochs, learning_rate, anneal=anneal, batch_size=batch_size, augmentation=None, seed=seed)
    snapshots = dict[int, dict[str, Any]]()
    for batch, step in steps(network, both, schedule):
        step(lambda: loss_fn(network, batch))
        if step.ends_epoch and (step.epoch + 1) % -(-epochs // 10) == 0:
            snapshots[step.epoch + 1] = deepcopy(network.state_dict())
            on_event("snapshots", snapshots)
    return DefensiveModel(network, own_trigger, relabel).eval()


def defensive_set(clean: ImageSet, relabel: Labels, sampling_frequency: int) -> ImageSet:
    """Each image that many times, labeled h(y). The trigger comes later: 8-bit pixels cannot store it."""
    return ImageSet(clean.images.repeat(sampling_frequency, 1, 1, 1), relabel[clean.labels].repeat(sampling_frequency))


def defensive_loss(
    trigger: DefensiveTrigger, first: int, *,
    defensive_trigger_moves: bool, augmentation: int | None, variant: ranges.Variant = "paper", seed: int,
) -> LossFn:  # fmt: skip
    """Mean cross-entropy over batches in which the images from position `first` on get the defensive `trigger`.

    The defensive term has no weight of its own, only the share of the batch that the sampling gives it.
    """
    generator = Generator().manual_seed(seed)

    def loss_fn(network: nn.Module, batch: Batch) -> Loss:
        is_own = (batch.ids >= first)[:, None, None, None]
        images = torch.where(is_own, trigger(batch.images), batch.images) if defensive_trigger_moves else batch.images
        if variant == "released":
            images = torch.where(is_own, dim_and_rotate(images, generator), images)
        images = augment(images, augmentation, generator)
        images = images if defensive_trigger_moves else torch.where(is_own, trigger(images), images)
        return F.cross_entropy(network(images), batch.labels)

    return loss_fn
