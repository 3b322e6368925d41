"""PDB's two backdoors against each other, measured with the attacker's trigger. Wei, Zha & Wu, NeurIPS 2024.

What do the weights do without the key? Which backdoor wins where an image carries both? What is a wrong key worth? And
how much of the attacker's trigger does the key merely cover?
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from bdlib.data.images import ImageSet, split
from bdlib.defenses.pdb.defensive_backdoor import DefensiveModel, DefensiveTrigger
from bdlib.evaluation.apply_trigger import LABEL_MAPS, AttackedSet, attacked_set
from bdlib.models import predict, share
from bdlib.types import Labels, Trigger

IMAGES = 1000  # test images that the measures of the finished network look at
FEW = 500  # test images for those of every epoch
OTHER_SHAPE = {"frame": ("corner", 7), "corner": ("frame", 1)}  # the released code's sizes


def pdb(
    defended: nn.Module, test: ImageSet, trigger: Trigger, stages: Mapping[str, Any] | None = None, *,
    target_label: int, label_map: str = "all_to_one",
) -> dict[str, float]:  # fmt: skip
    """What a record keeps: shares in [0, 1]. On a never-poisoned model, only what needs no trigger.

    `stages["snapshots"]` gives the scores of every epoch, with the key and without.
    """
    if not isinstance(defended, DefensiveModel):
        return {}
    sample = some(test, IMAGES)
    attack = Attack(sample, trigger, target_label, label_map)
    found = {"bare_accuracy": accuracy(defended.network, sample)}
    found |= {f"{name}_accuracy": accuracy(DefensiveModel(defended.network, key, defended.relabel), sample)
              for name, key in wrong_triggers(defended.key).items()}  # fmt: skip
    if attack.is_one:
        found |= attack.scores("bare", defended.network)
        found |= competition(defended, attack)
        found["bare_uncovered_asr"] = share(predict(defended.network, attack.uncovered(defended.key)) == attack.wanted)
    few = some(test, FEW)
    for epoch, network in at_epochs(defended, stages):
        found |= over_time(epoch, network, few, Attack(few, trigger, target_label, label_map))
    return found


def some(test: ImageSet, count: int) -> ImageSet:
    """At most that many test images, an equal share of every class."""
    return test if len(test) <= count else split(test, count / len(test), seed=0)[0]


def accuracy(model: nn.Module, data: ImageSet) -> float:
    return share(predict(model, data) == data.labels)


@dataclass(frozen=True)
class Attack:
    """Test images, and what the attacker would make of them."""

    test: ImageSet
    trigger: Trigger
    target_label: int
    label_map: str = "all_to_one"

    @cached_property
    def images(self) -> AttackedSet:
        """The clean images that count, the triggered ones, and the labels that the attacker wants."""
        relabel = LABEL_MAPS[self.label_map](self.target_label, int(self.test.labels.max()) + 1)
        return attacked_set(self.test, self.trigger, relabel)

    @property
    def victims(self) -> ImageSet:
        """The clean images that count: all, or those of classes other than the single target."""
        return self.images.clean

    @property
    def attacked(self) -> ImageSet:
        """The same with the trigger, their true labels kept."""
        return self.images.triggered

    @property
    def wanted(self) -> Labels:
        """The label that the attacker wants for each of them."""
        return self.images.wanted

    @property
    def is_one(self) -> bool:
        """Whether the trigger changes anything."""
        return not torch.equal(self.attacked.images, self.victims.images)

    def uncovered(self, key: DefensiveTrigger) -> ImageSet:
        """The triggered images with clean pixels wherever the key would lie: what the key leaves of the trigger."""
        clean, attacked = self.victims, self.attacked
        mask = key.mask(*clean.images.shape[-2:]).to(clean.images.device)
        return ImageSet(torch.where(mask, clean.images, attacked.images), clean.labels)

    def scores(self, name: str, model: nn.Module) -> dict[str, float]:
        """ASR and RA of a model."""
        guesses = predict(model, self.attacked)
        return {f"{name}_asr": share(guesses == self.wanted), f"{name}_ra": share(guesses == self.attacked.labels)}


def competition(defended: DefensiveModel, attack: Attack) -> dict[str, float]:
    """Whose label the network itself gives to images with key and trigger: the defender's, the attacker's, another.

    Counted where the two differ; empty where they never do. `asr_shift` is the attacker's share: what the inverse map
    turns into a wrong answer that the ASR does not count.
    """
    attacked, wanted = attack.attacked, attack.wanted
    ours = defended.relabel[attacked.labels]
    said = defended.relabel[predict(defended, attacked)]  # before the inverse map
    apart = ours != wanted
    if not apart.any():
        return {}
    wins = {"defense_wins": said == ours, "asr_shift": said == wanted}
    shares = {name: share(won[apart]) for name, won in wins.items()}
    return shares | {"neither_wins": 1 - sum(shares.values())}


def wrong_triggers(key: DefensiveTrigger) -> dict[str, DefensiveTrigger]:
    """No key at all, the right pixels at half the value, and the right value on another shape; none for no key."""
    if key.shape == "none":
        return {}
    shape, size = OTHER_SHAPE[key.shape]
    return {"no_defensive_trigger": DefensiveTrigger("none", 0, 0.0), "half_value": DefensiveTrigger(key.shape, key.size, key.value / 2),
            "other_shape": DefensiveTrigger(shape, size, key.value)}  # fmt: skip


def at_epochs(defended: DefensiveModel, stages: Mapping[str, Any] | None) -> Iterator[tuple[int, DefensiveModel]]:
    """The keyed network as it was after each epoch that was kept."""
    copy = deepcopy(defended)
    snapshots: dict[int, dict[str, Tensor]] = (stages or {}).get("snapshots", {})
    for epoch, weights in snapshots.items():
        copy.network.load_state_dict(weights)
        yield epoch, copy


def over_time(epoch: int, defended: DefensiveModel, test: ImageSet, attack: Attack) -> dict[str, float]:
    """ACC, and ASR where there is an attack, with the key and without."""
    found = dict[str, float]()
    for name, model in (("keyed", defended), ("bare", defended.network)):
        found[f"epoch_{epoch}_{name}_accuracy"] = accuracy(model, test)
        if attack.is_one:
            found[f"epoch_{epoch}_{name}_asr"] = attack.scores("at", model)["at_asr"]
    return found
