"""PDB's two backdoors against each other, measured with the attacker's trigger. Wei, Zha & Wu, NeurIPS 2024.

What do the weights do without the defensive trigger? Which backdoor wins on an image with both triggers? How well does
a wrong defensive trigger do? And how much of the attacker's trigger does the defender's merely cover?
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn

from bdlib.attacks.all_to_all import next_class
from bdlib.data.images import ImageSet, sample
from bdlib.defenses.pdb.defensive_backdoor import DefensiveModel, DefensiveTrigger, Shape
from bdlib.evaluation.apply_trigger import apply_trigger, triggered_set
from bdlib.models import accuracy, predict, share
from bdlib.types import EventLog, Labels, Trigger

NUMBERS_VERSION = 1  # raise it when a change here changes numbers
IMAGES = 1000  # test images for the measures of the finished network
FEW = 500  # test images for those of every epoch
OTHER_SHAPE: dict[Shape, tuple[Shape, int]] = {"frame": ("corner", 7), "corner": ("frame", 1)}  # released code's sizes


def pdb(
    defended: nn.Module, test: ImageSet, trigger: Trigger, events: EventLog, *,
    target_label: int, label_map: str = "all_to_one",
) -> dict[str, float]:  # fmt: skip
    """Shares in [0, 1]. On a model that was never poisoned, only what needs no trigger.

    `events["snapshots"]` gives the scores after every epoch, with the defensive trigger ("keyed") and of the weights
    alone ("bare").
    """
    if not isinstance(defended, DefensiveModel):
        return {}
    images, own_trigger = sample(test, IMAGES), defended.defensive_trigger
    attack = Attack(images, trigger, target_label, label_map)
    measured = {"bare_accuracy": accuracy(defended.network, images)}
    for name, wrong_trigger in wrong_triggers(own_trigger).items():
        model = DefensiveModel(defended.network, wrong_trigger, defended.relabel)
        measured[f"{name}_accuracy"] = accuracy(model, images)
    if attack.changes_images:
        measured |= attack.scores("bare", defended.network)
        measured |= competition(defended, attack)
        guesses = predict(defended.network, attack.uncovered(own_trigger))
        measured["bare_uncovered_asr"] = share(guesses == attack.wanted)
    few = sample(test, FEW)
    for epoch, network in at_epochs(defended, events):
        measured |= over_time(epoch, network, few, Attack(few, trigger, target_label, label_map))
    return measured


@dataclass(frozen=True)
class Attack:
    """Test images, and the same images as the attacker submits them."""

    test: ImageSet
    trigger: Trigger
    target_label: int
    label_map: str = "all_to_one"

    @property
    def victims(self) -> ImageSet:
        """The clean images that are counted: all, or those of classes other than the single target."""
        return self.test if self.label_map == "all_to_all" else self.test[self.test.labels != self.target_label]

    @property
    def attacked(self) -> ImageSet:
        """The same images with the trigger and with their true labels."""
        if self.label_map == "all_to_all":
            return ImageSet(apply_trigger(self.test.images, self.trigger), self.test.labels)
        return triggered_set(self.test, self.trigger, target_label=self.target_label)

    @property
    def wanted(self) -> Labels:
        """The label that the attacker wants for each of these images."""
        labels = self.victims.labels
        if self.label_map == "all_to_all":
            return next_class(labels, int(self.test.labels.max()) + 1)
        return torch.full_like(labels, self.target_label)

    @property
    def changes_images(self) -> bool:
        """Whether the trigger changes anything."""
        return not torch.equal(self.attacked.images, self.victims.images)

    def uncovered(self, defensive_trigger: DefensiveTrigger) -> ImageSet:
        """The triggered images with clean pixels wherever the defensive trigger would cover them."""
        clean, attacked = self.victims, self.attacked
        mask = defensive_trigger.mask(*clean.images.shape[-2:]).to(clean.images.device)
        return ImageSet(torch.where(mask, clean.images, attacked.images), clean.labels)

    def scores(self, name: str, model: nn.Module) -> dict[str, float]:
        """ASR and RA of a model."""
        guesses = predict(model, self.attacked)
        return {f"{name}_asr": share(guesses == self.wanted), f"{name}_ra": share(guesses == self.attacked.labels)}


def competition(defended: DefensiveModel, attack: Attack) -> dict[str, float]:
    """Whose label the network itself gives to images with both triggers: the defender's, the attacker's, or another.

    Only images are counted on which the two labels differ; the result is empty if there are none. `asr_shift` is the
    attacker's share: the inverse map turns it into a wrong answer that the ASR does not count.
    """
    attacked, wanted = attack.attacked, attack.wanted
    own = defended.relabel[attacked.labels]
    answers = defended.relabel[predict(defended, attacked)]  # before the inverse map
    differ = own != wanted
    if not differ.any():
        return {}
    wins = {"defense_wins": answers == own, "asr_shift": answers == wanted}
    shares = {name: share(won[differ]) for name, won in wins.items()}
    return shares | {"neither_wins": 1 - sum(shares.values())}


def wrong_triggers(right: DefensiveTrigger) -> dict[str, DefensiveTrigger]:
    """No trigger, the right pixels at half the value, and the right value on another shape; nothing for no trigger."""
    if right.shape == "none":
        return {}
    return {
        "no_defensive_trigger": DefensiveTrigger("none", 0, 0.0),
        "half_value": DefensiveTrigger(right.shape, right.size, right.value / 2),
        "other_shape": DefensiveTrigger(*OTHER_SHAPE[right.shape], right.value),
    }


def at_epochs(defended: DefensiveModel, events: EventLog) -> Iterator[tuple[int, DefensiveModel]]:
    """The defended network as it was after each epoch that has a snapshot."""
    copy = deepcopy(defended)
    for epoch, weights in events.get("snapshots", {}).items():
        copy.network.load_state_dict(weights)
        yield epoch, copy


def over_time(epoch: int, defended: DefensiveModel, test: ImageSet, attack: Attack) -> dict[str, float]:
    """ACC, and ASR where there is an attack, with the defensive trigger and of the weights alone."""
    measured = dict[str, float]()
    for name, model in (("keyed", defended), ("bare", defended.network)):
        measured[f"epoch_{epoch}_{name}_accuracy"] = accuracy(model, test)
        if attack.changes_images:
            measured[f"epoch_{epoch}_{name}_asr"] = attack.scores("at", model)["at_asr"]
    return measured
