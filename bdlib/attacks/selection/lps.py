"""LPS, learnable poisoning sample selection. Zhu, Zhang, Wei, Shen, Fan and Wu 2023, arXiv:2307.07328.

Images that a network still finds hard to give to the attacker while it is being backdoored are those that teach it the
backdoor best. So a surrogate is trained on the poisoned set, the set is chosen anew as the images of the highest
poison loss, an equal share of every class, and so on in turn: the surrogate lowers the loss, the selection raises it.

This is a reconstruction: the paper's equations and settings could not be read and no code was published. It follows
the abstract and public reviews, by which the objective is
min over the surrogate, max over the set of  sum of clean losses + sum of poison losses of the set.
"""

from typing import Literal

import torch

from bdlib import ranges
from bdlib.attacks.poisoning import Positions, poison_at
from bdlib.attacks.selection.random import random_selection
from bdlib.attacks.selection.ranking import (
    clean_losses,
    highest_in_every_class,
    highest_of_all,
    poison_beside,
    poison_losses,
    surrogate_seed,
)
from bdlib.checks import checked
from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import AllToOne, TargetLabel
from bdlib.training.loop import Schedule
from bdlib.training.loop import train as fit
from bdlib.types import MakeModel, OnEvent, Trigger, ignore

NUMBERS_VERSION = 1  # raise it when a change here changes which images are selected


@checked
def lps(
    train: ImageSet,
    trigger: Trigger,
    *,
    target_label: TargetLabel,
    poison_rate: ranges.Fraction,
    make_model: MakeModel,
    rounds: ranges.CountOrZero = 5,  # T; its value was not seen
    round_epochs: ranges.Count = 1,  # epochs of the surrogate in a round; not seen
    learning_rate: ranges.LearningRate = 0.1,  # this and the next: as victims are trained; not seen
    batch_size: ranges.BatchSize = 64,
    augmentation: ranges.Augmentation = None,
    score: Literal["poison", "difference"] = "poison",  # difference: less the clean loss, the gradient by replacement
    additive: bool = False,  # the surrogate sees triggered copies beside the originals, not in their place
    per_class: bool = True,  # an equal share of every class
    alternate: bool = True,  # False: all rounds train on the random set, by the same schedule, and the last one chooses
    hardest: bool = True,  # False: the lowest scores instead, a negative control
    on_event: OnEvent = ignore,
    seed: ranges.Seed = 0,
) -> Positions:
    """The positions of the images to poison, increasing. Without rounds they are those of `random_selection`.

    The surrogate goes on from round to round; in each, its learning rate rises and falls once. `on_event` is told
    "rounds", the sets, shape (rounds + 1, p), and "losses", every image's poison loss after each round, (rounds, n);
    where nothing alternates, of the last round alone.

    Raises ParameterError when a keyword is out of its range, and when there are too few images to poison.

    Example: `lps(train, BadNets(), target_label=0, poison_rate=0.002, make_model=make_model, seed=1)`
    """
    ids = random_selection(train, trigger, target_label=target_label, poison_rate=poison_rate, make_model=make_model,
                           seed=seed)  # fmt: skip
    choose, plant = highest_in_every_class if per_class else highest_of_all, poison_beside if additive else poison_at
    surrogate, sets, losses = make_model(), [ids], []
    for number in range(rounds if len(ids) else 0):
        schedule = Schedule(round_epochs, learning_rate, anneal="one_cycle", batch_size=batch_size,
                            augmentation=augmentation, seed=surrogate_seed(seed, number))  # fmt: skip
        surrogate = fit(surrogate, plant(train, trigger, AllToOne(target_label), ids).data, schedule)
        if not alternate and number < rounds - 1:
            continue
        losses.append(poison_losses(surrogate, train, trigger, target_label=target_label))
        scores = losses[-1] if score == "poison" else losses[-1] - clean_losses(surrogate, train)
        ids = choose(scores if hardest else -scores, train.labels, target_label=target_label, count=len(ids), seed=seed)
        sets.append(ids)
    if losses:
        on_event("rounds", torch.stack(sets))
        on_event("losses", torch.stack(losses).cpu())
    return ids
