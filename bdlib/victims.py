"""The backdoored models that all notebooks share: trained once, then read from a cache.

A victim's file is named by the hash of all that shaped it: its recipe, the data set, and the code that trains. So is
the file of the images that an attacker chose to poison, where that took training too.

    python -m bdlib.victims '{"attack": "blended", "seed": 1}'      # train one, if it is not there yet
"""

import argparse
import json
import warnings
from dataclasses import asdict, dataclass, field, fields, replace
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load as tensors_in
from safetensors.torch import save as bytes_of
from torch import Tensor, nn

import bdlib.data
import bdlib.models
import bdlib.poison
import bdlib.train
from bdlib.all_to_all import evaluate_all, poison_all
from bdlib.attacks import SELECTIONS, module_of
from bdlib.data import ImageSet, split
from bdlib.datasets import DATASETS, load
from bdlib.evaluate import Scores, evaluate
from bdlib.models import MODELS, seeded
from bdlib.poison import Poisoned, poison
from bdlib.provenance import CACHE, best_device, code_digest, digest, imported, runtime_facts, write_whole
from bdlib.selection import poison_at, surrogate_seed
from bdlib.train import Schedule, train
from bdlib.triggers import CLEAN_LABEL, TRIGGERS
from bdlib.types import Trigger


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a victim's weights. Field names are the notebooks' parameters."""

    dataset: str = "fashion"
    data_fraction: float = 1.0  # share of the training and test images used
    model: str = "small_resnet"
    attack: str = "badnets"  # a key of TRIGGERS; "none" gives the never-poisoned twin
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

    @classmethod
    def from_parameters(cls, parameters: dict[str, Any]) -> "Recipe":
        """The recipe inside a notebook's parameters, which hold more than it needs."""
        return cls(**{field.name: parameters[field.name] for field in fields(cls) if field.name in parameters})

    @property
    def trigger(self) -> Trigger:
        return TRIGGERS[self.attack]

    @property
    def schedule(self) -> Schedule:
        """One-cycle SGD from rate 0.1 with crop and mirroring: the fastest recipe to a well-fitted victim."""
        return Schedule(self.victim_epochs, 0.1, anneal="one_cycle", batch_size=self.victim_batch_size,
                        pad=DATASETS[self.dataset].pad, seed=self.seed)  # fmt: skip

    @property
    def path(self) -> Path:
        """Where the trained victim is kept."""
        code = code_digest(bdlib.data, bdlib.models, bdlib.poison, bdlib.train, type(self.trigger))
        name = f"{self.dataset}-{self.model}-{self.attack}-{self.poison_rate:g}-seed{self.seed}"
        special = [f"{f.name}={getattr(self, f.name)}" for f in fields(self) if getattr(self, f.name) != f.default]
        special = [word for word in special if word.split("=")[0] in ("label_map", "selection")]
        if self.selection != "random":
            special += [repr(self.selection_settings), code_digest(*imported(module_of(self.selection)))]
        shaped_by = digest(self, self.trigger, self.schedule, DATASETS[self.dataset], code, *special)
        return CACHE / "victims" / f"{name}-{shaped_by}.safetensors"

    @property
    def selection_path(self) -> Path:
        """Where the chosen images of a selection that trains a surrogate are kept."""
        code = code_digest(*imported(module_of(self.selection)), type(self.trigger))
        name = f"{self.dataset}-{self.model}-{self.attack}-{self.poison_rate:g}-{self.selection}-seed{self.seed}"
        shaped_by = digest(self.dataset, DATASETS[self.dataset], self.data_fraction, self.model, self.trigger,
                           self.selection, self.selection_settings, code)  # fmt: skip
        return CACHE / "selections" / f"{name}-{shaped_by}.safetensors"

    @property
    def selection_settings(self) -> dict[str, Any]:
        """The keywords that the selection takes from this recipe; a surrogate is trained as the victim is."""
        facts = {"batch_size": self.victim_batch_size, "pad": DATASETS[self.dataset].pad}
        given = asdict(self) | facts | {"poison_rate": 0.0 if self.attack == "none" else self.poison_rate}
        return {name: given[name] for name in signature(SELECTIONS[self.selection]).parameters if name in given}

    def data(self) -> tuple[ImageSet, ImageSet]:
        """The clean training set and the test set, on the device that trains."""
        parts = [part.to(best_device()) for part in load(self.dataset)]
        if self.data_fraction < 1:
            parts = [split(part, self.data_fraction, seed=0)[0] for part in parts]
        return parts[0], parts[1]

    def poisoned(self, data: ImageSet | None = None) -> Poisoned:
        """The training set as the attacker hands it over; `data` takes the place of the whole clean one."""
        whole, data = data is None, self.data()[0] if data is None else data
        rate, classes = 0.0 if self.attack == "none" else self.poison_rate, DATASETS[self.dataset].num_classes
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
        watch = {"watch": shown.__setitem__} if self.selection != "random" else {}
        ids = SELECTIONS[self.selection](data, self.trigger, make_model=surrogate.untrained,
                                         **self.selection_settings, **watch)  # fmt: skip
        return {"ids": ids, **shown}

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


def selected(recipe: Recipe) -> dict[str, Tensor]:
    """What `Recipe.select` gives for the whole training set; what took training is kept in the cache, and read from it.

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


def cached(recipe: Recipe) -> nn.Module | None:
    """The victim as it lies in the cache, or None."""
    if not recipe.path.is_file():
        return None
    model = recipe.untrained().to(best_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        model.load_state_dict(tensors_in(recipe.path.read_bytes()))
    except (SafetensorError, RuntimeError, KeyError) as error:
        warnings.warn(f"{recipe.path} cannot be read ({error}); training the victim again", stacklevel=3)
        return None
    return model.eval()


def trained(recipe: Recipe, *, progress: bool) -> nn.Module:
    """The victim, newly trained and written to the cache."""

    def report(epoch: int, loss: float) -> None:
        print(f"victim {recipe.attack}: epoch {epoch + 1} of {recipe.victim_epochs}, loss {loss:.3f}", flush=True)

    model = train(recipe.untrained(), recipe.poisoned().data, recipe.schedule,
                  on_epoch=report if progress else None, compiled=best_device().type == "cuda")  # fmt: skip
    facts = {key: json.dumps(value) for key, value in (asdict(recipe) | runtime_facts()).items()}
    tensors = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    write_whole(recipe.path, bytes_of(tensors, metadata=facts))
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "recipe", type=json.loads, help="JSON object: the fields of Recipe that differ from its defaults"
    )
    victim(Recipe(**parser.parse_args().recipe), progress=True)


if __name__ == "__main__":
    main()
