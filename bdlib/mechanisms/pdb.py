"""PDB's two backdoors against each other, measured with the attacker's trigger. Wei, Zha & Wu, NeurIPS 2024.

What do the weights do without the defensive trigger? Which backdoor wins on an image with both triggers? How well does
a wrong defensive trigger do? And how much of the attacker's trigger does the defender's merely cover?
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Annotated

import torch
from torch import nn

from bdlib.checks import OneOf, checked
from bdlib.data.images import ImageSet, sample
from bdlib.defenses.pdb.defensive_backdoor import DefensiveModel, DefensiveTrigger, Shape
from bdlib.evaluation.apply_trigger import LABEL_MAPS, AttackedSet, TargetLabel, attacked_set
from bdlib.models import accuracy, predict, share
from bdlib.types import EventLog, Trigger

NUMBERS_VERSION = 1  # raise it when a change here changes numbers
IMAGES = 1000  # test images for the measures of the finished network
FEW = 500  # test images for those of every epoch
OTHER_SHAPE: dict[Shape, tuple[Shape, int]] = {"frame": ("corner", 7), "corner": ("frame", 1)}  # released code's sizes


@checked
def pdb(
    defended: nn.Module, test: ImageSet, trigger: Trigger, events: EventLog, *,
    target_label: TargetLabel, label_map: Annotated[str, OneOf(LABEL_MAPS)] = "all_to_one",
) -> dict[str, float]:  # fmt: skip
    """Shares in [0, 1]. On a model that was never poisoned, only what needs no trigger.

    `events["snapshots"]` gives the scores after every epoch, with the defensive trigger ("keyed") and of the weights
    alone ("bare").
    """
    if not isinstance(defended, DefensiveModel):
        return {}
    relabel = LABEL_MAPS[label_map](target_label, len(defended.relabel))
    images, own_trigger = sample(test, IMAGES), defended.defensive_trigger
    attack = attacked_set(images, trigger, relabel)
    measured = {"bare_accuracy": accuracy(defended.network, images)}
    for name, wrong_trigger in wrong_triggers(own_trigger).items():
        model = DefensiveModel(defended.network, wrong_trigger, defended.relabel)
        measured[f"{name}_accuracy"] = accuracy(model, images)
    if _has_trigger(attack):
        guesses = predict(defended.network, attack.triggered)
        measured |= {"bare_asr": share(guesses == attack.wanted), "bare_ra": share(guesses == attack.clean.labels)}
        measured |= competition(defended, attack)
        uncovered = predict(defended.network, uncovered_set(attack, own_trigger))
        measured["bare_uncovered_asr"] = share(uncovered == attack.wanted)
    few = sample(test, FEW)
    for epoch, network in at_epochs(defended, events):
        measured |= over_time(epoch, network, few, attacked_set(few, trigger, relabel))
    return measured


def _has_trigger(attack: AttackedSet) -> bool:
    """Whether the attacker's trigger changes any image."""
    return not torch.equal(attack.triggered.images, attack.clean.images)


def uncovered_set(attack: AttackedSet, defensive_trigger: DefensiveTrigger) -> ImageSet:
    """The triggered images with clean pixels wherever the defensive trigger would cover them."""
    mask = defensive_trigger.mask(*attack.clean.images.shape[-2:]).to(attack.clean.images.device)
    return ImageSet(torch.where(mask, attack.clean.images, attack.triggered.images), attack.clean.labels)


def renamed_label(defended: DefensiveModel, label: int) -> int:
    """The class that the owner reads where the network predicts `label`; `label` itself where there is no label map."""
    return int((defended.relabel == label).nonzero().item())


def competition(defended: DefensiveModel, attack: AttackedSet) -> dict[str, float]:
    """Whose label the network itself gives to images with both triggers: the defender's, the attacker's, or another.

    Only images are counted on which the two labels differ; the result is empty if there are none. `asr_shift` is the
    attacker's share: the inverse map turns it into a wrong answer that the ASR does not count.
    """
    own = defended.relabel[attack.triggered.labels]
    answers = defended.relabel[predict(defended, attack.triggered)]  # before the inverse map
    differ = own != attack.wanted
    if not differ.any():
        return {}
    wins = {"defense_wins": answers == own, "asr_shift": answers == attack.wanted}
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


def over_time(epoch: int, defended: DefensiveModel, test: ImageSet, attack: AttackedSet) -> dict[str, float]:
    """ACC, and ASR where there is an attack, with the defensive trigger and of the weights alone."""
    measured = dict[str, float]()
    for name, model in (("keyed", defended), ("bare", defended.network)):
        measured[f"epoch_{epoch}_{name}_accuracy"] = accuracy(model, test)
        if _has_trigger(attack):
            measured[f"epoch_{epoch}_{name}_asr"] = share(predict(model, attack.triggered) == attack.wanted)
    return measured
