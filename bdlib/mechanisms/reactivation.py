"""Asleep or gone: how much of a backdoor is left inside a repaired network, and what wakes it, beside its controls.

The coefficient and the perturbation follow Zhu, Liang and Wu (NeurIPS 2024, arXiv:2405.16134), the retuning Min et al.
(NeurIPS 2024, arXiv:2410.09838).
"""

from typing import Annotated

from pydantic import Field
from torch import nn

from bdlib import ranges
from bdlib.checks import checked
from bdlib.data.images import ImageSet, sample
from bdlib.evaluation.apply_trigger import AllToOne, AttackedSet, TargetLabel, attacked_set
from bdlib.evaluation.metrics import evaluate
from bdlib.evaluation.reactivation import (
    Epsilon,
    Perturbation,
    Rule,
    random_perturbation,
    success,
    universal_perturbation,
)
from bdlib.evaluation.retuning import retuned
from bdlib.evaluation.similarity import backdoor_existence
from bdlib.types import EventLog, Trigger

NUMBERS_VERSION = 1  # raise it when a change here or in what it calls changes numbers
TESTED = 2000  # test images, at most, of all classes
COMPARED = 300  # triggered images for the coefficient
Images = Annotated[int, Field(ge=10, le=100_000)]


@checked
def reactivation(
    model: nn.Module,
    defended: nn.Module,
    twin: nn.Module,
    train: ImageSet,
    test: ImageSet,
    trigger: Trigger,
    events: EventLog,
    *,
    epsilon: Epsilon = 0.05,  # largest change of a pixel
    waking_steps: Annotated[int, Field(ge=1, le=100_000)] = 30,
    waking_images: Images = 1000,  # triggered training images that the perturbation is fitted to
    rule: Rule = "sign",
    poisons: Annotated[int, Field(ge=0, le=10_000)] = 5,
    retuning_images: Images = 500,
    retuning_epochs: ranges.Count = 5,
    retuning_rate: ranges.LearningRate = 0.01,
    target_label: TargetLabel,
    seed: ranges.Seed = 0,
) -> dict[str, float]:
    """Shares of triggered test images that get the target label, and the coefficient `existence`; see the chapter.

    `woken`: with the perturbation. Its controls: `random` instead of it, `no_trigger` beneath it, `twin` in place of
    the repair, `twin_own` with a perturbation fitted to the twin; `clean_fit` is fitted to images without trigger.
    `excess` is `woken` less the highest of the repair's own ASR and the first, second and fourth control. `retuned` is
    after `poisons` poisoned images, `retuned_zero` after none, `retuned_twin` on the twin, `retuned_gain` the first
    less the second. Without an attack only the retuning's accuracies mean something. `events` is told "perturbation".
    """
    attacked = attacked_set(sample(test, TESTED), trigger, AllToOne(target_label))
    others = sample(train[train.labels != target_label], waking_images)
    stamped = attacked_set(others, trigger, AllToOne(target_label)).triggered

    def fitted(network: nn.Module, images: ImageSet) -> Perturbation:
        return universal_perturbation(network, images, target_label=target_label, epsilon=epsilon, steps=waking_steps,
                                      rule=rule, seed=seed)  # fmt: skip

    change, on_twin = fitted(defended, stamped), fitted(twin, stamped)
    events("perturbation", change)
    measured = _woken(defended, twin, attacked, change, epsilon, target_label, seed)
    measured["twin_own"] = success(twin, attacked.triggered, on_twin, target_label=target_label)
    on_clean = fitted(defended, others)
    measured["clean_fit"] = success(defended, attacked.triggered, on_clean, target_label=target_label)
    controls = [measured[name] for name in ("asleep", "random", "no_trigger", "twin_own")]
    measured["excess"] = measured["woken"] - max(controls)
    if (attacked.triggered.images != attacked.clean.images).any():
        measured["existence"] = backdoor_existence(model, defended, twin, attacked.clean[:COMPARED], trigger)
    small = sample(train, retuning_images)
    for name, network, count in (("", defended, poisons), ("_zero", defended, 0), ("_twin", twin, poisons)):
        tuned = retuned(network, small, trigger, target_label=target_label, poisons=count, epochs=retuning_epochs,
                        learning_rate=retuning_rate, seed=seed)  # fmt: skip
        scores = evaluate(tuned, sample(test, TESTED), trigger, target_label=target_label)
        measured |= {f"retuned{name}": scores.asr, f"retuned{name}_accuracy": scores.clean_accuracy}
    return measured | {"retuned_gain": measured["retuned"] - measured["retuned_zero"]}


def _woken(
    defended: nn.Module, twin: nn.Module, attacked: AttackedSet, change: Perturbation, epsilon: float, target: int,
    seed: int,
) -> dict[str, float]:  # fmt: skip
    """The repair's own ASR, with the perturbation, and the controls that need no other fit."""
    noise = random_perturbation(change, epsilon, seed)
    cases = {"asleep": (defended, attacked.triggered, None), "woken": (defended, attacked.triggered, change),
             "random": (defended, attacked.triggered, noise), "no_trigger": (defended, attacked.clean, change),
             "twin": (twin, attacked.triggered, change)}  # fmt: skip
    return {name: success(*case, target_label=target) for name, case in cases.items()}
