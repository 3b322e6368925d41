"""What decides a victim's weights: the settings, and what follows from them without training anything."""

from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import torch
from torch import nn

from bdlib.attacks.all_to_all import next_class
from bdlib.attacks.training_controlled import Relabel
from bdlib.attacks.triggers import GRAY, TRIGGERS
from bdlib.data.datasets import DATASETS, load_dataset
from bdlib.data.images import ImageSet, split
from bdlib.models import MODELS, seeded
from bdlib.runtime import best_device
from bdlib.training.loop import Schedule
from bdlib.types import Trigger

Kind = TypeVar("Kind", bound="Settings")  # a kind of settings


@dataclass(frozen=True)
class Settings:
    """Everything that decides a victim's weights. Field names are the notebooks' parameters."""

    dataset: str = "fashion"
    data_fraction: float = 1.0  # share of the training and test images used
    model: str = "small_resnet"
    attack: str = "badnets"  # one of bdlib.attacks.ATTACKS; "none" gives the never-poisoned twin
    target_label: int = 0
    poison_rate: float = 0.1  # of the training set; of the target class for clean-label attacks
    victim_epochs: int = 8
    victim_batch_size: int = 64
    seed: int = 0  # of the choice of images, the initial weights, the shuffles and the augmentation
    # Not in `repr`, so that recipes without them keep the names of their victims; see `path`.
    label_map: str = field(default="all_to_one", repr=False)  # or "all_to_all": every class to the next
    selection: str = field(default="random", repr=False)  # a key of SELECTIONS: which images are poisoned
    rounds: int = field(default=5, repr=False)  # of LPS
    round_epochs: int = field(default=1, repr=False)
    iterations: int = field(default=3, repr=False)  # of FUS
    iteration_epochs: int = field(default=4, repr=False)
    keep_ratio: float = field(default=0.5, repr=False)
    cover_samples: bool = field(default=True, repr=False)  # of attacks that control training

    @classmethod
    def from_parameters(cls: type[Kind], parameters: dict[str, Any]) -> Kind:
        """The recipe inside a notebook's parameters, which hold more than it needs."""
        return cls(**{field.name: parameters[field.name] for field in fields(cls) if field.name in parameters})

    @property
    def static_trigger(self) -> Trigger | None:
        """The trigger of an attack that needs no network for it, at the strength that suits the data set; or None."""
        gray = GRAY if DATASETS[self.dataset].channels == 1 else {}
        return gray.get(self.attack, TRIGGERS.get(self.attack))

    @property
    def relabel(self) -> Relabel:
        """The label that the attack wants in place of each true one."""
        if self.label_map == "all_to_all":
            return lambda labels: next_class(labels, DATASETS[self.dataset].num_classes)
        return lambda labels: torch.full_like(labels, self.target_label)

    @property
    def schedule(self) -> Schedule:
        """One-cycle SGD from rate 0.1 with crop and mirroring: the fastest recipe to a well-fitted victim."""
        return Schedule(self.victim_epochs, 0.1, anneal="one_cycle", batch_size=self.victim_batch_size,
                        augmentation=DATASETS[self.dataset].augmentation, seed=self.seed)  # fmt: skip

    def data(self) -> tuple[ImageSet, ImageSet]:
        """The clean training set and the test set, on the device that trains."""
        parts = [part.to(best_device()) for part in load_dataset(self.dataset)]
        if self.data_fraction < 1:
            parts = [split(part, self.data_fraction, seed=0)[0] for part in parts]
        return parts[0], parts[1]

    def untrained(self) -> nn.Module:
        """The network before training."""
        facts = DATASETS[self.dataset]
        build = MODELS[self.model]
        return seeded(lambda: build(facts.channels, facts.num_classes, facts.mean, facts.std), seed=self.seed)
