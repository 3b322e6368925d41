"""Proactive defensive backdoor (PDB). Wei, Zha & Wu, NeurIPS 2024, arXiv:2405.16112.

The defender, who trains the network, plants a backdoor of its own: clean images that carry a secret key are learned
under labels moved by a bijection. Every later query is given the key and its answer moved back, so that the defender's
shortcut is taken where the attacker's would be. The attacker's backdoor is not removed: the weights still hold it.
"""

from copy import deepcopy
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Generator, nn

from bdlib.data.images import ImageSet, augment
from bdlib.defenses.pdb.defensive_backdoor import DefensiveModel, DefensiveTrigger, shifted_labels
from bdlib.training.loop import Schedule, train
from bdlib.types import Batch, Labels, Loss, LossFn, MakeModel, OnEvent, ignore


def pdb(
    make_model: MakeModel,
    poisoned: ImageSet,
    clean: ImageSet,
    *,
    defensive_trigger: Literal["none", "frame", "corner"] = "corner",  # paper not seen; released code, as all below
    defensive_trigger_size: int = 7,  # pixels: a frame's width, a corner square's side
    defensive_trigger_value: float = 2.0,  # legal pixels end at 1
    defensive_trigger_moves: bool = True,  # stamped before the augmentation, which shifts and mirrors it; else after
    label_shift: int = 1,  # h(y) = (y + shift) mod K
    sampling_frequency: int = 5,  # how often an epoch sees each clean image
    epochs: int = 100,
    learning_rate: float = 0.01,
    anneal: Literal["constant", "cosine", "one_cycle"] = "cosine",
    batch_size: int = 256,
    augmentation: int | None = 4,  # pixels of random crop, with mirroring; None for no augmentation
    on_event: OnEvent = ignore,
    seed: int = 0,
) -> DefensiveModel:
    """A network trained from scratch on `poisoned` and keyed `clean` images, with key and label map around it.

    `clean` should share no image with `poisoned`. `key="none"` is the control: the same images, steps and schedule,
    nothing stamped, no label moved. `on_event` sees "snapshots": the weights after at most ten epochs, by their number.
    """
    network, own_trigger = (
        make_model(),
        DefensiveTrigger(defensive_trigger, defensive_trigger_size, defensive_trigger_value),
    )
    relabel = shifted_labels(outputs(network, clean), label_shift if defensive_trigger != "none" else 0).to(
        clean.labels.device
    )
    added = defensive_set(clean, relabel, sampling_frequency)
    both = ImageSet(torch.cat([poisoned.images, added.images]), torch.cat([poisoned.labels, added.labels]))
    loss_fn = defensive_loss(
        own_trigger,
        len(poisoned),
        defensive_trigger_moves=defensive_trigger_moves,
        augmentation=augmentation,
        seed=seed + 1,
    )
    snapshots = dict[int, dict[str, Any]]()

    def keep(epoch: int, _: float) -> None:
        if (epoch + 1) % -(-epochs // 10) == 0:
            snapshots[epoch + 1] = deepcopy(network.state_dict())
            on_event("snapshots", snapshots)

    schedule = Schedule(epochs, learning_rate, anneal=anneal, batch_size=batch_size, augmentation=None, seed=seed)
    return DefensiveModel(
        train(network, both, schedule, loss_fn=loss_fn, on_event=lambda _, e: keep(e.number, e.mean_loss)),
        own_trigger,
        relabel,
    ).eval()


def outputs(network: nn.Module, data: ImageSet) -> int:
    """How many classes a network tells apart."""
    with torch.no_grad():
        return deepcopy(network).to(data.labels.device).eval()(data.images[:1].float() / 255).shape[1]


def defensive_set(clean: ImageSet, relabel: Labels, sampling_frequency: int) -> ImageSet:
    """Each image that many times, labelled h(y). The key comes later: 8-bit pixels could not hold it."""
    return ImageSet(clean.images.repeat(sampling_frequency, 1, 1, 1), relabel[clean.labels].repeat(sampling_frequency))


def defensive_loss(
    key: DefensiveTrigger, first: int, *, defensive_trigger_moves: bool, augmentation: int | None, seed: int
) -> LossFn:
    """Mean cross-entropy over batches in which the images from position `first` on carry the key.

    The defensive term has no weight of its own; it has the share of the batch that the sampling gives it.
    """
    generator = Generator().manual_seed(seed)

    def loss_fn(network: nn.Module, batch: Batch) -> Loss:
        ours = (batch.ids >= first)[:, None, None, None]
        images = torch.where(ours, key(batch.images), batch.images) if defensive_trigger_moves else batch.images
        images = augment(images, augmentation, generator)
        images = images if defensive_trigger_moves else torch.where(ours, key(images), images)
        return F.cross_entropy(network(images), batch.labels)

    return loss_fn
