"""The backdoored models that all notebooks share: trained once, then read from a cache.

A victim's file is named by the hash of all that shaped it: its recipe, the data set, and the code that trains.

    python -m bdlib.victims '{"attack": "blended", "seed": 1}'      # train one, if it is not there yet
"""

import argparse
import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, cast

import torch
from filelock import FileLock
from torch import Tensor, nn

import bdlib.data
import bdlib.models
import bdlib.poison
import bdlib.train
from bdlib.all_to_all import evaluate_all, next_class, poison_all
from bdlib.attacks import CRAFTED, MODULES, STEERED
from bdlib.attacks.input_aware import InputAware, steer
from bdlib.attacks.label_consistent import poison_consistently
from bdlib.attacks.selection import SELECTIONS, poison_at
from bdlib.data import ImageSet, split
from bdlib.datasets import DATASETS, load
from bdlib.evaluate import Scores, evaluate
from bdlib.models import MODELS, seeded
from bdlib.poison import Poisoned, poison
from bdlib.provenance import CACHE, best_device, code_digest, digest, imported, runtime_facts
from bdlib.steering import Relabel, SteeringTrigger, frozen, train_steered
from bdlib.train import Schedule, train
from bdlib.triggers import CLEAN_LABEL, GREY, TRIGGERS
from bdlib.types import Trigger
from bdlib.weights import LEARNT, filled, keep

ATTACKERS = 10_000  # added to the seed for what the attacker trains alone


@dataclass(frozen=True)
class Recipe:
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
    companions: bool = field(default=True, repr=False)  # of attacks that steer training; see bdlib.steering

    @classmethod
    def from_parameters(cls, parameters: dict[str, Any]) -> "Recipe":
        """The recipe inside a notebook's parameters, which hold more than it needs."""
        return cls(**{field.name: parameters[field.name] for field in fields(cls) if field.name in parameters})

    @property
    def trigger(self) -> Trigger:
        """The trigger; one that is crafted or learnt is read from the cache, and made where it is not there."""
        if self.static_trigger is not None:
            return self.static_trigger
        return crafted(self) if self.attack in CRAFTED else learnt(self)

    @property
    def static_trigger(self) -> Trigger | None:
        """The trigger of an attack that needs no network for it, at the strength that suits the data set; or None."""
        grey = GREY if DATASETS[self.dataset].channels == 1 else {}
        return grey.get(self.attack, TRIGGERS.get(self.attack))

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
                        pad=DATASETS[self.dataset].pad, seed=self.seed)  # fmt: skip

    @property
    def path(self) -> Path:
        """Where the trained victim is kept."""
        static = self.static_trigger
        kinds = [] if static is None else [type(static)]
        code = code_digest(bdlib.data, bdlib.models, bdlib.poison, bdlib.train, *kinds)
        name = f"{self.dataset}-{self.model}-{self.attack}-{self.poison_rate:g}-seed{self.seed}"
        special = [f"{f.name}={getattr(self, f.name)}" for f in fields(self) if getattr(self, f.name) != f.default]
        special = [word for word in special if word.split("=")[0] in ("label_map", "selection", "companions")]
        files = imported(SELECTIONS[self.selection].__module__) if self.selection != "random" else []
        files += imported(MODULES[self.attack]) if self.attack in MODULES else []
        shaped_by = digest(self, static, self.schedule, DATASETS[self.dataset], code, *special,
                           *([code_digest(*files)] if files else []))  # fmt: skip
        return CACHE / "victims" / f"{name}-{shaped_by}.safetensors"

    @property
    def craft_path(self) -> Path:
        """Where that is kept which the attacker makes before poisoning; the rate and the target have no part in it."""
        name = f"{self.dataset}-{self.model}-{self.attack}-seed{self.seed}"
        shaped_by = digest(self.dataset, self.data_fraction, self.model, self.attack, self.seed,
                           DATASETS[self.dataset], code_digest(*imported(MODULES[self.attack])))  # fmt: skip
        return CACHE / "triggers" / f"{name}-{shaped_by}.safetensors"

    def data(self) -> tuple[ImageSet, ImageSet]:
        """The clean training set and the test set, on the device that trains."""
        parts = [part.to(best_device()) for part in load(self.dataset)]
        if self.data_fraction < 1:
            parts = [split(part, self.data_fraction, seed=0)[0] for part in parts]
        return parts[0], parts[1]

    def poisoned(self, data: ImageSet | None = None) -> Poisoned:
        """The training set as the attacker hands it over; `data` takes the place of the whole clean one.

        Of an attack that steers training it is one frozen epoch, which is not the same attack (`steering.frozen`).
        """
        data = self.data()[0] if data is None else data
        rate, classes = 0.0 if self.attack == "none" else self.poison_rate, DATASETS[self.dataset].num_classes
        if self.attack in STEERED:
            steering = cast(SteeringTrigger, self.trigger)
            return frozen(data, steering, self.relabel, poison_rate=rate, companions=self.companions, seed=self.seed)
        if self.attack == "label_consistent":
            return poison_consistently(data, self.trigger, crafted(self), target_label=self.target_label,
                                       poison_rate=rate, seed=self.seed)  # fmt: skip
        if self.label_map == "all_to_all":
            return poison_all(data, self.trigger, num_classes=classes, poison_rate=rate, seed=self.seed)
        if self.selection != "random":
            select = SELECTIONS[self.selection]
            ids = select(data, self.trigger, target_label=self.target_label, poison_rate=rate,
                         make_model=self.untrained, seed=self.seed)  # fmt: skip
            return poison_at(data, self.trigger, ids, target_label=self.target_label)
        return poison(data, self.trigger, target_label=self.target_label, poison_rate=rate,
                      seed=self.seed, clean_label=self.attack in CLEAN_LABEL)  # fmt: skip

    def scores(self, model: nn.Module, test: ImageSet) -> Scores:
        """How accurate and how backdoored a model is under this recipe's attack."""
        if self.label_map == "all_to_all":
            return evaluate_all(model, test, self.trigger, num_classes=DATASETS[self.dataset].num_classes)
        return evaluate(model, test, self.trigger, target_label=self.target_label)

    def untrained(self) -> nn.Module:
        """The network before training."""
        facts = DATASETS[self.dataset]
        build = MODELS[self.model]
        return seeded(lambda: build(facts.channels, facts.num_classes, facts.mean, facts.std), seed=self.seed)


def victim(recipe: Recipe, *, progress: bool = False) -> nn.Module:
    """The model trained on the poisoned data, in evaluation mode; from the cache where it is there already.

    `progress` prints a line an epoch. Several processes that want the same victim train it once. A cached file that
    cannot be read is warned about, and made anew.
    """
    path = recipe.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        return cached(recipe) or trained(recipe, progress=progress)


def cached(recipe: Recipe) -> nn.Module | None:
    """The victim as it lies in the cache, or None."""
    if not recipe.path.is_file():
        return None
    model = recipe.untrained().to(best_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.eval() if filled(model, recipe.path) else None


def crafted(recipe: Recipe) -> nn.Module:
    """What the attacker makes from clean images before poisoning, without gradients; made once, then read back.

    Its network has other initial weights than the victim: who poisons data does not know those.
    """
    path, own = recipe.craft_path, replace(recipe, seed=recipe.seed + ATTACKERS)
    facts, craft = DATASETS[recipe.dataset], CRAFTED[recipe.attack]
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        module = craft.blank((facts.channels, facts.size, facts.size), own.untrained).to(best_device())
        if not path.is_file() or not filled(module, path):
            made = craft.craft(recipe.data()[0], make_model=own.untrained, pad=facts.pad, seed=own.seed)
            keep(path, asdict(recipe) | runtime_facts(), made.state_dict())
            module.load_state_dict(made.state_dict())  # as the next to read it: in the same memory layout
    return module.eval().requires_grad_(False)


def learnt(recipe: Recipe) -> nn.Module:
    """The trigger that was trained together with the victim, and lies in its file."""
    victim(recipe)
    trigger = InputAware(DATASETS[recipe.dataset].channels).to(best_device())
    if not filled(trigger, recipe.path, LEARNT):
        raise RuntimeError(f"{recipe.path} holds no trigger")
    return trigger.eval().requires_grad_(False)


def trained(recipe: Recipe, *, progress: bool) -> nn.Module:
    """The victim, newly trained and written to the cache."""

    def report(epoch: int, loss: float) -> None:
        print(f"victim {recipe.attack}: epoch {epoch + 1} of {recipe.victim_epochs}, loss {loss:.3f}", flush=True)

    model, compiled = recipe.untrained(), best_device().type == "cuda"
    shown: dict[str, Any] = {"on_epoch": report if progress else None, "compiled": compiled}
    learned: dict[str, Tensor] = {}
    if recipe.attack not in STEERED:
        train(model, recipe.poisoned().data, recipe.schedule, **shown)
    else:
        shown |= {"poison_rate": recipe.poison_rate, "companions": recipe.companions}
        given = (model, recipe.data()[0], recipe.schedule)
        if recipe.attack == "input_aware":
            learned = steer(*given, recipe.relabel, **shown).state_dict()
        else:
            train_steered(*given, recipe.trigger, recipe.relabel, **shown)  # type: ignore[arg-type]
    learned = {LEARNT + name: tensor for name, tensor in learned.items()}
    keep(recipe.path, asdict(recipe) | runtime_facts(), model.state_dict() | learned)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "recipe", type=json.loads, help="JSON object: the fields of Recipe that differ from its defaults"
    )
    victim(Recipe(**parser.parse_args().recipe), progress=True)


if __name__ == "__main__":
    main()
