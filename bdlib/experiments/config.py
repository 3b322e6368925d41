"""What decides a victim's weights, as one checked object. It reads no files and trains nothing."""

from dataclasses import asdict, dataclass, fields, replace
from inspect import signature
from typing import Annotated, Any

from pydantic import Field
from torch import nn

from bdlib import ranges
from bdlib.attacks import ATTACKS, SELECTIONS
from bdlib.attacks.attack import Attack
from bdlib.checks import CheckedFields, OneOf, ParameterError
from bdlib.data.datasets import DATASETS, DatasetFacts
from bdlib.evaluation.apply_trigger import LABEL_MAPS, AllToOne
from bdlib.models import MODELS, seeded
from bdlib.models.own import OwnNetwork, fingerprint
from bdlib.runtime import added_field
from bdlib.training.loop import Schedule
from bdlib.types import Relabel

HIGHEST_RATES = {"narrow_preact_resnet18": 0.2}  # of the victims' schedule; 0.1 for the others
# Pixels: VGG-19 halves its maps five times, the small one three times, and nothing is left of smaller images.
SMALLEST_IMAGES = {"vgg19_bn": 32, "small_vgg_bn": 8, "small_vit": 4}


@dataclass(frozen=True)
class VictimConfig(CheckedFields):
    """Everything that decides a victim's weights. Field names are the notebooks' parameters.

    Raises ParameterError, in one line, for a value out of its range and for values that do not fit each other. A field
    that is added later is an `added_field`, so that the victims there are keep their names.

    Example: `trained_victim(VictimConfig(attack="blended", poison_rate=0.05, seed=1))`
    """

    dataset: Annotated[str, OneOf(DATASETS)] = "fashion"
    data_fraction: Annotated[float, Field(ge=0.01, le=1)] = 1.0  # share of the training and test images used
    model: Annotated[str, OneOf(MODELS)] = "small_resnet"
    attack: Annotated[str, OneOf(ATTACKS)] = "badnets"  # "none" gives the clean model
    target_label: Annotated[int, Field(ge=0, le=9999)] = 0  # of the data set's classes
    poison_rate: Annotated[float, Field(gt=0, le=0.5)] = 0.1  # of the training set; clean-label: of the target class
    victim_epochs: ranges.Count = 8
    victim_batch_size: ranges.BatchSize = 64
    seed: ranges.Seed = 0  # of the choice of images, the initial weights, the shuffles and the augmentation
    label_map: Annotated[str, OneOf(LABEL_MAPS)] = "all_to_one"
    selection: Annotated[str, OneOf(SELECTIONS)] = "random"  # which images are poisoned
    rounds: ranges.CountOrZero = 5  # of LPS
    round_epochs: ranges.Count = 1
    iterations: ranges.CountOrZero = 3  # of FUS
    iteration_epochs: ranges.Count = 4
    keep_ratio: ranges.Fraction = 0.5
    cover_samples: bool = True  # of training-controlled attacks
    trigger_strength: Annotated[float, Field(gt=0, le=10)] = added_field(1.0)  # times the attack's own; fixed triggers

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_fit(self)

    @classmethod
    def from_parameters(cls, parameters: dict[str, Any]) -> "VictimConfig":
        """The victim's part of a notebook's parameters."""
        return cls(**{field.name: parameters[field.name] for field in fields(cls) if field.name in parameters})

    @property
    def twin(self) -> "VictimConfig":
        """The clean twin: the same network on the same images with the same seed, and no attack."""
        kept = ("dataset", "data_fraction", "model", "target_label", "victim_epochs", "victim_batch_size", "seed")
        return VictimConfig(attack="none", **{name: getattr(self, name) for name in kept})

    @property
    def facts(self) -> DatasetFacts:
        """What a network must know of the data set."""
        return DATASETS[self.dataset]

    @property
    def attack_object(self) -> Attack:
        """The attack, as these settings have it."""
        attack = ATTACKS[self.attack]
        attack = attack if self.trigger_strength == 1 else attack.scaled(self.trigger_strength)
        return attack if self.cover_samples else replace(attack, cover_ratio=0.0)

    @property
    def relabel(self) -> Relabel:
        """The labels that the attack wants in place of the true ones."""
        return LABEL_MAPS[self.label_map](self.target_label, self.facts.num_classes)

    @property
    def schedule(self) -> Schedule:
        """One-cycle SGD with crop and mirroring: the fastest schedule to a well-fitted victim."""
        rate = HIGHEST_RATES.get(self.model, 0.1)
        return Schedule(self.victim_epochs, rate, anneal="one_cycle", batch_size=self.victim_batch_size,
                        augmentation=self.facts.augmentation, seed=self.seed)  # fmt: skip

    @property
    def selection_settings(self) -> dict[str, Any]:
        """The keywords that the selection takes from this configuration; its network is trained as the victim is."""
        known = asdict(self) | {"batch_size": self.victim_batch_size, "augmentation": self.facts.augmentation}
        known["poison_rate"] = self.poison_rate if self.attack_object.poisons else 0.0
        return {name: known[name] for name in signature(SELECTIONS[self.selection]).parameters if name in known}

    def untrained(self, seed_offset: int = 0) -> nn.Module:
        """The network before training, on the CPU; with an offset other initial weights than the victim's."""
        facts, build, seed = self.facts, MODELS[self.model], self.seed + seed_offset
        if isinstance(build, OwnNetwork):
            return seeded(lambda: build.fitted(facts), seed=seed)
        return seeded(lambda: build(facts.channels, facts.num_classes, facts.mean, facts.std), seed=seed)


def added_settings() -> dict[str, Any]:
    """The fields of VictimConfig that were added later, each with the value at which it changes no name."""
    return {field.name: field.metadata["added_at"] for field in fields(VictimConfig) if "added_at" in field.metadata}


def _check_fit(config: VictimConfig) -> None:
    """Raise ParameterError unless the fields fit each other."""
    attack, facts, single_target = config.attack_object, config.facts, isinstance(config.relabel, AllToOne)
    selects = config.selection != "random"
    if config.target_label >= facts.num_classes:
        _refuse(config, "target_label", f"from 0 to {facts.num_classes - 1} for {config.dataset}")
    if facts.size < SMALLEST_IMAGES.get(config.model, 0):
        least = f"must have images of {SMALLEST_IMAGES[config.model]} pixels or more"
        raise ParameterError(f"model={config.model!r}: {least}, {config.dataset} has {facts.size}")
    if misfit := attack.misfit((facts.channels, facts.size, facts.size)):
        raise ParameterError(f"attack={config.attack!r}: {misfit}; dataset={config.dataset!r}")
    if isinstance(build := MODELS[config.model], OwnNetwork):
        fingerprint(build, facts)  # makes it once and runs it
    if attack.clean_label and not single_target:
        _refuse(config, "label_map", f"all_to_one: attack {config.attack} changes no labels")
    if selects and not single_target:
        _refuse(config, "label_map", "all_to_one where selection is not random")
    if selects and attack.clean_label:
        _refuse(config, "selection", f"random for {config.attack}, which changes no labels")
    if selects and attack.training_controlled:
        _refuse(config, "selection", f"random for {config.attack}, which triggers other images in every batch")
    if not config.cover_samples and not ATTACKS[config.attack].cover_ratio:
        _refuse(config, "cover_samples", f"True for {config.attack}, which has none to leave out")


def _refuse(config: VictimConfig, name: str, allowed: str) -> None:
    raise ParameterError(f"{name}={getattr(config, name)!r}: must be {allowed}")
