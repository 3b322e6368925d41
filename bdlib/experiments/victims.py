"""The backdoored models that all notebooks share: trained once, then read from a cache.

The files are named by `bdlib.experiments.keys`. So are the files of what an attacker makes first: an optimized trigger,
and the images selected to be poisoned.

Example::

    bdlib victims -p attack=blended -p seed=1      # train one, if it is not there yet
"""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from torch import Tensor, channels_last, nn

from bdlib.attacks import SELECTIONS
from bdlib.attacks.poisoning import Poisoned
from bdlib.attacks.selection.ranking import surrogate_seed
from bdlib.data.datasets import load_dataset, source_of
from bdlib.data.images import ImageSet, split
from bdlib.data.tensor_files import load_tensors
from bdlib.evaluation.metrics import Scores, evaluate_attack
from bdlib.experiments import zoo
from bdlib.experiments.checkpoints import (
    LEARNED,
    load_checkpoint,
    locked,
    of_trigger,
    save_checkpoint,
    tensors_of,
    without_trigger,
)
from bdlib.experiments.config import VictimConfig
from bdlib.experiments.keys import made_of, selection_key, trigger_key, victim_name
from bdlib.experiments.sources import made_from_these_data
from bdlib.folders import CACHE
from bdlib.runtime import best_device, runtime_facts
from bdlib.training.loop import Epoch
from bdlib.types import MakeModel, Trigger, ignore

ATTACKER_SEED = 10_000  # added to the seed for what the attacker trains alone
SPLIT_SEED = 0  # draws the images of a `data_fraction`


class OpenedVictim(NamedTuple):
    """A victim with all that a chapter needs to attack it, defend it and score it."""

    config: VictimConfig
    train_set: ImageSet  # clean
    test_set: ImageSet  # clean
    model: nn.Module
    trigger: Trigger
    scores: Scores


def open_victim(parameters: Mapping[str, Any]) -> OpenedVictim:
    """The victim that a notebook's `parameters` describe; it is trained, with a line an epoch, if it is not there yet.

    Raises ParameterError for a value that is not allowed.
    """
    config = VictimConfig.from_parameters(dict(parameters))
    train_set, test_set = load_data(config)
    model = trained_victim(config, progress=True)
    return OpenedVictim(
        config, train_set, test_set, model, load_trigger(config), evaluate_victim(config, model, test_set)
    )


def load_data(config: VictimConfig) -> tuple[ImageSet, ImageSet]:
    """The clean training set and the test set, on the device that trains."""
    parts = [part.to(best_device()) for part in load_dataset(config.dataset)]
    if config.data_fraction < 1:
        parts = [split(part, config.data_fraction, seed=SPLIT_SEED)[0] for part in parts]
    return parts[0], parts[1]


def trained_victim(config: VictimConfig, *, progress: bool = False) -> nn.Module:
    """The model trained as the attack has it, in evaluation mode; from the zoo or the cache where it is there.

    `progress` prints a line an epoch. Several processes that want the same victim train it once. A cached file that
    cannot be read is warned about, and made anew.

    Example: `trained_victim(VictimConfig(attack="wanet"), progress=True)`
    """
    model = config.untrained().to(best_device(), memory_format=channels_last)  # type: ignore[call-overload]
    if (published := zoo.published_tensors(config)) is not None:
        model.load_state_dict(without_trigger(published))
        return model.eval()
    path = victim_path(config)
    with locked(path):
        if made_from_these_data(path, config) and load_checkpoint(model, path):
            return model.eval()
        return _train_victim(config, path, progress)


def _train_victim(config: VictimConfig, path: Path, progress: bool) -> nn.Module:
    """The victim, newly trained and written to `path`."""

    def report(name: str, epoch: Epoch) -> None:
        words = f"victim {config.attack}: epoch {epoch.number + 1} of {config.victim_epochs}"
        print(f"{words}, loss {epoch.mean_loss:.3f}", flush=True)

    attack, model = config.attack_object, config.untrained()
    ids = load_selection(config)["ids"] if config.selection != "random" else None
    trigger = attack.train_victim(
        model, load_data(config)[0], None if attack.trains_trigger_with_victim else load_trigger(config),
        config.relabel, config.schedule, poison_rate=config.poison_rate, ids=ids,
        on_event=report if progress else ignore, compiled=best_device().type == "cuda",
    )  # fmt: skip
    if zoo.is_planned(config):
        zoo.round_to_half(model)
    learned = cast(nn.Module, trigger) if attack.trains_trigger_with_victim else None
    save_checkpoint(path, tensors_of(model, learned), _facts(config))
    return model


def load_trigger(config: VictimConfig) -> Trigger:
    """The attack's trigger, without gradients. One that has to be made is read from the cache, or made once.

    A trigger that is trained together with the victim is in the victim's file.
    """
    attack, facts = config.attack_object, config.facts
    fixed = attack.fixed_trigger(facts.channels)
    if fixed is not None:
        return fixed
    trigger = attack.blank((facts.channels, facts.size, facts.size), _attacker(config)).to(best_device())
    if (published := zoo.published_tensors(config)) is not None:
        trigger.load_state_dict(of_trigger(published))
    elif attack.trains_trigger_with_victim:
        trained_victim(config)
        if not load_checkpoint(trigger, victim_path(config), LEARNED):
            raise RuntimeError(f"{victim_path(config)} holds no trigger")
    else:
        _load_or_fit(trigger, config)
    return trigger.eval().requires_grad_(False)


def _load_or_fit(trigger: nn.Module, config: VictimConfig) -> None:
    """Put an optimized trigger's weights into `trigger`: from the cache, or from a new fit, which is then cached."""
    path, seed = trigger_path(config), config.seed + ATTACKER_SEED
    with locked(path):
        if not (made_from_these_data(path, config) and load_checkpoint(trigger, path)):
            train, augmentation = load_data(config)[0], config.facts.augmentation
            fitted = config.attack_object.fit(train, _attacker(config), augmentation=augmentation, seed=seed)
            weights = cast(nn.Module, fitted).state_dict()
            save_checkpoint(path, weights, _facts(config))
            trigger.load_state_dict(weights)  # as the next to read it: in the same memory layout


def _facts(config: VictimConfig) -> dict[str, Any]:
    """What a cached file says about its making."""
    return asdict(config) | runtime_facts() | {"source": source_of(config.dataset)}


def _attacker(config: VictimConfig) -> MakeModel:
    """Makes the attacker's own network: with other weights than the victim, as who poisons data does not know those."""
    return partial(config.untrained, ATTACKER_SEED)


def load_selection(config: VictimConfig) -> dict[str, Tensor]:
    """What `select` finds in the whole training set; from the cache where a network was trained for it."""
    if config.selection == "random":
        return select(config, load_data(config)[0])
    path = selection_path(config)
    with locked(path):
        selected = load_tensors(path) if made_from_these_data(path, config) else None
        if selected is None:
            selected = select(config, load_data(config)[0])
            save_checkpoint(path, selected, _facts(config))
        return selected


def select(config: VictimConfig, data: ImageSet) -> dict[str, Tensor]:
    """The positions in `data` of the images to poison, `ids`, and what the selection told on its way.

    A surrogate starts from other weights than the victim and sees other shuffles: an attacker knows neither.
    """
    events: dict[str, Tensor] = {}
    surrogate = partial(config.untrained, surrogate_seed(0, 0))
    ids = SELECTIONS[config.selection](data, load_trigger(config), make_model=surrogate, on_event=events.__setitem__,
                                       **config.selection_settings)  # fmt: skip
    return {"ids": ids, **events}


def poisoned_set(config: VictimConfig, data: ImageSet | None = None) -> Poisoned:
    """The training set as the attacker hands it over; `data` takes the place of the whole clean one.

    Of a training-controlled attack it is one frozen epoch, which is not the same attack.
    """
    ids = None
    if config.selection != "random":
        ids = (load_selection(config) if data is None else select(config, data))["ids"]
    data = load_data(config)[0] if data is None else data
    return config.attack_object.poison(data, load_trigger(config), config.relabel, poison_rate=config.poison_rate,
                                       seed=config.seed, ids=ids)  # fmt: skip


def evaluate_victim(config: VictimConfig, model: nn.Module, test: ImageSet) -> Scores:
    """How accurate and how backdoored a model is under the configuration's attack."""
    return evaluate_attack(model, test, load_trigger(config), config.relabel)


def victim_path(config: VictimConfig) -> Path:
    """Where the trained victim is: in the zoo if it is published, else in the cache."""
    return zoo.published_path(config) or CACHE / "victims" / f"{victim_name(config)}.safetensors"


def trigger_path(config: VictimConfig) -> Path:
    """Where an optimized trigger is cached."""
    return CACHE / "triggers" / f"{made_of(config)}-seed{config.seed}-{trigger_key(config)}.safetensors"


def selection_path(config: VictimConfig) -> Path:
    """Where the images of a selection are cached, and what it told on its way."""
    name = f"{made_of(config)}-{config.poison_rate:g}-{config.selection}-seed{config.seed}-{selection_key(config)}"
    return CACHE / "selections" / f"{name}.safetensors"
