"""LPS, learnable poisoning sample selection. Zhu, Zhang, Wei, Shen, Fan and Wu 2023, arXiv:2307.07328.

Images that a network still finds hard to give to the attacker while it is being backdoored are those that teach it the
backdoor best. So a surrogate is trained on the poisoned set, the set is chosen anew as the images of the highest
poison loss, an equal share of every class, and so on in turn: the surrogate lowers the loss, the selection raises it.

The paper's equations and settings could not be read and no code was published. The objective is
min over the surrogate, max over the set of  sum of clean losses + sum of poison losses of the set.
"""

from typing import Literal

import torch

from bdlib.attacks.selection.ranking import (
    Positions,
    clean_losses,
    highest_in_every_class,
    highest_of_all,
    poison_at,
    poison_beside,
    poison_losses,
    random_selection,
    surrogate_seed,
)
from bdlib.data.images import ImageSet
from bdlib.training.loop import Schedule
from bdlib.training.loop import train as fit
from bdlib.types import MakeModel, OnEvent, Trigger, ignore


def lps(
    train: ImageSet,
    trigger: Trigger,
    *,
    target_label: int,
    poison_rate: float,
    make_model: MakeModel,
    rounds: int = 5,  # T; its value was not seen
    round_epochs: int = 1,  # epochs of the surrogate in a round; not seen
    learning_rate: float = 0.1,  # this and the next: the victims' own recipe; not seen
    batch_size: int = 64,
    augmentation: int | None = None,  # pixels of random crop, with mirroring; None for no augmentation
    score: Literal["poison", "difference"] = "poison",  # difference: less the clean loss, the gradient by replacement
    additive: bool = False,  # the surrogate sees stamped copies beside the originals, not in their place
    per_class: bool = True,  # an equal share of every class
    alternate: bool = True,  # False: the same epochs in one round, on the random set
    hardest: bool = True,  # False: the lowest scores instead, a negative control
    on_event: OnEvent = ignore,  # is shown `rounds`, the sets, and `losses`, every image's poison loss after each round
    seed: int = 0,
) -> Positions:
    """The positions of the images to poison, increasing. With no rounds those of `random_selection`.

    The surrogate goes on from round to round; in each, its learning rate rises and falls once.
    """
    ids = random_selection(train, trigger, target_label=target_label, poison_rate=poison_rate, make_model=make_model,
                           seed=seed)  # fmt: skip
    if not alternate:
        rounds, round_epochs = min(rounds, 1), rounds * round_epochs
    choose, plant = highest_in_every_class if per_class else highest_of_all, poison_beside if additive else poison_at
    surrogate, sets, losses = make_model(), [ids], []
    for number in range(rounds if len(ids) else 0):
        schedule = Schedule(round_epochs, learning_rate, anneal="one_cycle", batch_size=batch_size, augmentation=augmentation,
                            seed=surrogate_seed(seed, number))  # fmt: skip
        surrogate = fit(surrogate, plant(train, trigger, ids, target_label=target_label).data, schedule)
        losses.append(poison_losses(surrogate, train, trigger, target_label=target_label))
        scores = losses[-1] if score == "poison" else losses[-1] - clean_losses(surrogate, train)
        ids = choose(scores if hardest else -scores, train.labels, target_label=target_label, count=len(ids), seed=seed)
        sets.append(ids)
    if losses:
        on_event("rounds", torch.stack(sets))
        on_event("losses", torch.stack(losses).cpu())
    return ids
