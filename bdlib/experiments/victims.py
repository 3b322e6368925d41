"""The backdoored models that all notebooks share: trained once, then read from a cache.

A victim's file is named by the hash of all that shaped it: its recipe, the data set, and the code that trains. So are
the files of what an attacker made first: a crafted trigger, the images chosen to be poisoned.

    python -m bdlib.experiments.victims '{"attack": "blended", "seed": 1}'      # train one, if it is not there yet
"""

import argparse
import json
import warnings
from dataclasses import asdict, dataclass, fields, replace
from inspect import signature
from pathlib import Path
from typing import Any, cast

import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load as tensors_in
from safetensors.torch import save as bytes_of
from torch import Tensor, nn

import bdlib.attacks.poisoning
import bdlib.data.images
import bdlib.models
import bdlib.training.loop
from bdlib.attacks import CRAFTED, MODULES, SELECTIONS, TRAINING_CONTROLLED, module_of
from bdlib.attacks.all_to_all import evaluate_all, poison_all
from bdlib.attacks.input_aware import InputAware, train_input_aware
from bdlib.attacks.label_consistent import poison_consistently
from bdlib.attacks.poisoning import Poisoned, poison
from bdlib.attacks.selection.ranking import poison_at, surrogate_seed
from bdlib.attacks.training_controlled import TrainingControlledTrigger, frozen, train_controlled
from bdlib.attacks.triggers import CLEAN_LABEL
from bdlib.data.datasets import DATASETS
from bdlib.data.images import ImageSet
from bdlib.evaluation.metrics import Scores, evaluate
from bdlib.experiments.checkpoints import LEARNT, keep, load_checkpoint
from bdlib.experiments.config import Settings
from bdlib.runtime import CACHE, best_device, code_digest, digest, imported, runtime_facts, write_whole
from bdlib.training.loop import train
from bdlib.types import Trigger, ignore

ATTACKERS = 10_000  # added to the seed for what the attacker trains alone


@dataclass(frozen=True)
class VictimConfig(Settings):
    """A victim's settings, and what has to be made for it: trigger, poisoned set, the file that holds its weights."""

    @property
    def trigger(self) -> Trigger:
        """The trigger; one that is crafted or learnt is read from the cache, and made where it is not there."""
        if self.static_trigger is not None:
            return self.static_trigger
        return crafted(self) if self.attack in CRAFTED else learnt(self)

    @property
    def path(self) -> Path:
        """Where the trained victim is kept."""
        static = self.static_trigger
        kinds = [] if static is None else [type(static)]
        code = code_digest(bdlib.data.images, bdlib.models, bdlib.attacks.poisoning, bdlib.training.loop, *kinds)
        name = f"{self.dataset}-{self.model}-{self.attack}-{self.poison_rate:g}-seed{self.seed}"
        special = [f"{f.name}={getattr(self, f.name)}" for f in fields(self) if getattr(self, f.name) != f.default]
        special = [word for word in special if word.split("=")[0] in ("label_map", "selection", "cover_samples")]
        if self.selection != "random":
            special += [repr(self.selection_settings), code_digest(*imported(module_of(self.selection)))]
        if self.attack in MODULES:
            special += [code_digest(*imported(MODULES[self.attack]))]
        shaped_by = digest(self, static, self.schedule, DATASETS[self.dataset], code, *special)
        return CACHE / "victims" / f"{name}-{shaped_by}.safetensors"

    @property
    def craft_path(self) -> Path:
        """Where that is kept which the attacker makes before poisoning; the rate and the target have no part in it."""
        name = f"{self.dataset}-{self.model}-{self.attack}-seed{self.seed}"
        shaped_by = digest(self.dataset, self.data_fraction, self.model, self.attack, self.seed,
                           DATASETS[self.dataset], code_digest(*imported(MODULES[self.attack])))  # fmt: skip
        return CACHE / "triggers" / f"{name}-{shaped_by}.safetensors"

    @property
    def selection_path(self) -> Path:
        """Where the chosen images of a selection that trains a surrogate are kept."""
        trigger = self.static_trigger or self.craft_path.name
        kinds = [] if isinstance(trigger, str) else [type(trigger)]
        code = code_digest(*imported(module_of(self.selection)), *kinds)
        name = f"{self.dataset}-{self.model}-{self.attack}-{self.poison_rate:g}-{self.selection}-seed{self.seed}"
        shaped_by = digest(self.dataset, DATASETS[self.dataset], self.data_fraction, self.model, trigger,
                           self.selection, self.selection_settings, code)  # fmt: skip
        return CACHE / "selections" / f"{name}-{shaped_by}.safetensors"

    @property
    def selection_settings(self) -> dict[str, Any]:
        """The keywords that the selection takes from this recipe; a surrogate is trained as the victim is."""
        facts = {"batch_size": self.victim_batch_size, "augmentation": DATASETS[self.dataset].augmentation}
        given = asdict(self) | facts | {"poison_rate": 0.0 if self.attack == "none" else self.poison_rate}
        return {name: given[name] for name in signature(SELECTIONS[self.selection]).parameters if name in given}

    def poisoned(self, data: ImageSet | None = None) -> Poisoned:
        """The training set as the attacker hands it over; `data` takes the place of the whole clean one.

        Of an attack that steers training it is one frozen epoch, which is not the same attack (`steering.frozen`).
        """
        whole, data = data is None, self.data()[0] if data is None else data
        rate, classes = 0.0 if self.attack == "none" else self.poison_rate, DATASETS[self.dataset].num_classes
        if self.attack in TRAINING_CONTROLLED:
            steering = cast(TrainingControlledTrigger, self.trigger)
            return frozen(
                data, steering, self.relabel, poison_rate=rate, cover_samples=self.cover_samples, seed=self.seed
            )
        if self.attack == "label_consistent":
            return poison_consistently(data, self.trigger, crafted(self), target_label=self.target_label,
                                       poison_rate=rate, seed=self.seed)  # fmt: skip
        if self.label_map == "all_to_all":
            return poison_all(data, self.trigger, num_classes=classes, poison_rate=rate, seed=self.seed)
        if self.selection != "random":
            ids = selected(self)["ids"] if whole else self.select(data)["ids"]
            return poison_at(data, self.trigger, ids, target_label=self.target_label)
        return poison(data, self.trigger, target_label=self.target_label, poison_rate=rate,
                      seed=self.seed, clean_label=self.attack in CLEAN_LABEL)  # fmt: skip

    def select(self, data: ImageSet) -> dict[str, Tensor]:
        """The positions in `data` of the images to poison, `ids`, and what the selection showed on its way.

        A surrogate starts from other weights than the victim and sees other shuffles: an attacker knows neither.
        """
        shown: dict[str, Tensor] = {}
        surrogate = replace(self, seed=surrogate_seed(self.seed, 0))
        watch = {"on_event": shown.__setitem__} if self.selection != "random" else {}
        ids = SELECTIONS[self.selection](data, self.trigger, make_model=surrogate.untrained,
                                         **self.selection_settings, **watch)  # fmt: skip
        return {"ids": ids, **shown}

    def scores(self, model: nn.Module, test: ImageSet) -> Scores:
        """How accurate and how backdoored a model is under this recipe's attack."""
        if self.label_map == "all_to_all":
            return evaluate_all(model, test, self.trigger, num_classes=DATASETS[self.dataset].num_classes)
        return evaluate(model, test, self.trigger, target_label=self.target_label)


def victim(recipe: VictimConfig, *, progress: bool = False) -> nn.Module:
    """The model trained on the poisoned data, in evaluation mode; from the cache where it is there already.

    `progress` prints a line an epoch. Several processes that want the same victim train it once. A cached file that
    cannot be read is warned about, and made anew.
    """
    path = recipe.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        return cached(recipe) or trained(recipe, progress=progress)


def selected(recipe: VictimConfig) -> dict[str, Tensor]:
    """What `VictimConfig.select` gives for the whole training set; what took training is kept in the cache, and read from it.

    A cached file that cannot be read is warned about, and made anew.
    """
    if recipe.selection == "random":
        return recipe.select(recipe.data()[0])
    path = recipe.selection_path
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.is_file():
            try:
                return tensors_in(path.read_bytes())
            except SafetensorError as error:
                warnings.warn(f"{path} cannot be read ({error}); choosing the images again", stacklevel=2)
        found = recipe.select(recipe.data()[0])
        write_whole(path, bytes_of({name: tensor.contiguous().cpu() for name, tensor in found.items()}))
        return found


def cached(recipe: VictimConfig) -> nn.Module | None:
    """The victim as it lies in the cache, or None."""
    if not recipe.path.is_file():
        return None
    model = recipe.untrained().to(best_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.eval() if load_checkpoint(model, recipe.path) else None


def crafted(recipe: VictimConfig) -> nn.Module:
    """What the attacker makes from clean images before poisoning, without gradients; made once, then read back.

    Its network has other initial weights than the victim: who poisons data does not know those.
    """
    path, own = recipe.craft_path, replace(recipe, seed=recipe.seed + ATTACKERS)
    facts, craft = DATASETS[recipe.dataset], CRAFTED[recipe.attack]
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        module = craft.blank((facts.channels, facts.size, facts.size), own.untrained).to(best_device())
        if not path.is_file() or not load_checkpoint(module, path):
            made = craft.craft(
                recipe.data()[0], make_model=own.untrained, augmentation=facts.augmentation, seed=own.seed
            )
            keep(path, asdict(recipe) | runtime_facts(), made.state_dict())
            module.load_state_dict(made.state_dict())  # as the next to read it: in the same memory layout
    return module.eval().requires_grad_(False)


def learnt(recipe: VictimConfig) -> nn.Module:
    """The trigger that was trained together with the victim, and lies in its file."""
    victim(recipe)
    trigger = InputAware(DATASETS[recipe.dataset].channels).to(best_device())
    if not load_checkpoint(trigger, recipe.path, LEARNT):
        raise RuntimeError(f"{recipe.path} holds no trigger")
    return trigger.eval().requires_grad_(False)


def trained(recipe: VictimConfig, *, progress: bool) -> nn.Module:
    """The victim, newly trained and written to the cache."""

    def report(name: str, epoch: Any) -> None:
        print(
            f"victim {recipe.attack}: epoch {epoch.number + 1} of {recipe.victim_epochs}, loss {epoch.mean_loss:.3f}",
            flush=True,
        )

    model, compiled = recipe.untrained(), best_device().type == "cuda"
    shown: dict[str, Any] = {"on_event": report if progress else ignore, "compiled": compiled}
    learned: dict[str, Tensor] = {}
    if recipe.attack not in TRAINING_CONTROLLED:
        train(model, recipe.poisoned().data, recipe.schedule, **shown)
    else:
        shown |= {"poison_rate": recipe.poison_rate, "cover_samples": recipe.cover_samples}
        given = (model, recipe.data()[0], recipe.schedule)
        if recipe.attack == "input_aware":
            learned = train_input_aware(*given, recipe.relabel, **shown).state_dict()
        else:
            train_controlled(*given, recipe.trigger, recipe.relabel, **shown)  # type: ignore[arg-type]
    learned = {LEARNT + name: tensor for name, tensor in learned.items()}
    keep(recipe.path, asdict(recipe) | runtime_facts(), model.state_dict() | learned)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "recipe", type=json.loads, help="JSON object: the fields of VictimConfig that differ from its defaults"
    )
    victim(VictimConfig(**parser.parse_args().recipe), progress=True)


if __name__ == "__main__":
    main()
