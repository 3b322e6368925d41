"""What ABL says happens inside: poison is learnt first, the lowest losses are poison, and ascent unlearns the backdoor.

All is read off what the defence has shown on its way; nothing is trained again. Poison flags and test data serve only
to count.
"""

from copy import deepcopy
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from bdlib.attacks.poisoning import Poisoned
from bdlib.data.images import ImageSet, batches, split
from bdlib.defenses.abl.isolation import Ids, Losses, isolate, parted
from bdlib.evaluation.metrics import evaluate
from bdlib.models import share
from bdlib.training.filter_masks import batch_norms
from bdlib.types import Labels, Trigger

IMAGES = 1000  # test images that the measures look at, at most
RATES = (0.01, 0.05, 0.1, 0.2)  # isolation rates at which precision and recall are taken; the paper's first
FIRST = 4  # epochs of stage 1 that are told one by one; and the last, whichever it is


def abl(
    defended: nn.Module,
    test: ImageSet,
    trigger: Trigger,
    truth: Poisoned,
    stages: dict[str, Any],
    *,
    target_label: int,
    isolation_rate: float = 0.01,
) -> dict[str, float]:
    """Mean losses in nats; accuracies, success rates, precisions and recalls in [0, 1]; images and epochs counted.

    `trained` is the model before the ascent, `unlearned` the one after it, `recalibrated` that one with BatchNorm
    statistics made anew on the images that were not isolated. Without poison, only what needs none.
    """
    losses, ids = stages["losses"], stages["isolated"].to(truth.is_poisoned.device)
    _, rest = parted(truth.data, ids)
    networks = {"trained": stages["trained"], "unlearned": defended, "recalibrated": recalibrated(defended, rest)}
    sample = split(test, min(1.0, IMAGES / len(test)), seed=0)[0]
    measured = {"isolated_images": float(len(ids)), "isolated_one_class": one_class(truth.data.labels[ids]),
                "ascent_epochs": float(len(stages["ascent"]))}  # fmt: skip
    if stages["ascent"]:
        measured["isolated_accuracy"] = stages["ascent"][-1]
    scores = {name: evaluate(model, sample, trigger, target_label=target_label) for name, model in networks.items()}
    measured |= {f"{name}_accuracy": found.clean_accuracy for name, found in scores.items()}
    told = sorted({*range(min(FIRST, len(losses))), len(losses) - 1})
    measured |= {f"loss_epoch_{epoch + 1}": losses[epoch].mean().item() for epoch in told}
    if not truth.is_poisoned.any():
        return measured
    measured |= {f"{name}_asr": found.asr for name, found in scores.items()}
    for epoch in told:
        measured |= told_apart(losses[epoch], truth.is_poisoned, f"epoch_{epoch + 1}")
    summed = isolate(torch.stack(losses).sum(0), isolation_rate)
    final = {"isolation": ids, "by_summed_loss": summed}
    measured |= {f"{name}_precision": share(truth.is_poisoned[chosen]) for name, chosen in final.items()}
    return measured | {
        "poison_rate_of_all": share(truth.is_poisoned),
        "isolation_recall": recall(truth.is_poisoned, ids),
        "poisoned_left": float(truth.is_poisoned.sum() - truth.is_poisoned[ids].sum()),
    }


def told_apart(losses: Losses, is_poisoned: Bool[Tensor, " n"], when: str) -> dict[str, float]:
    """How well one epoch's losses tell poison: the groups' mean losses, precision and recall at each of `RATES`."""
    found = {f"poisoned_loss_{when}": losses[is_poisoned].mean().item(),
             f"clean_loss_{when}": losses[~is_poisoned].mean().item()}  # fmt: skip
    for rate in RATES:
        ids, name = isolate(losses, rate), f"{100 * rate:.0f}_percent_{when}"
        found |= {f"precision_{name}": share(is_poisoned[ids]), f"recall_{name}": recall(is_poisoned, ids)}
    return found


def recall(is_poisoned: Bool[Tensor, " n"], ids: Ids) -> float:
    """The share of the poisoned images that are among `ids`."""
    return (is_poisoned[ids].sum() / is_poisoned.sum()).item()


def one_class(labels: Labels) -> float:
    """The share of the most frequent label: 1 where all images are of one class."""
    return (labels.bincount().max() / len(labels)).item()


@torch.no_grad()
def recalibrated(model: nn.Module, data: ImageSet, *, batch_size: int = 500) -> nn.Module:
    """A copy of `model` with the running statistics of its BatchNorm layers made anew on `data`; no weight moves.

    They become the plain mean over the batches. A few steps on images of one class leave statistics that fit no other
    images; what is still there once they are repaired is what the weights have kept.
    """
    copy = deepcopy(model).train()
    for layer in batch_norms(copy).values():
        layer.reset_running_stats()
        layer.momentum = None  # average over all batches alike
    for batch in batches(data, batch_size):
        copy(batch.images)
    for name, layer in batch_norms(copy).items():
        layer.momentum = batch_norms(model)[name].momentum
    return copy.eval()
