"""What ABL says happens inside: poison is learnt first, the lowest losses are poison, and ascent unlearns the backdoor.

All of it is read from the run that was watched; nothing is trained again. Poison flags and test data serve only to
count.
"""

from collections.abc import Sequence
from copy import deepcopy

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from bdlib import ranges
from bdlib.attacks.poisoning import Poisoned
from bdlib.checks import checked
from bdlib.data.images import ImageSet, batches, sample
from bdlib.defenses.abl.isolation import Ids, Losses, divide, isolate
from bdlib.evaluation.apply_trigger import TargetLabel
from bdlib.evaluation.metrics import evaluate
from bdlib.models import share
from bdlib.training.filter_masks import batch_norms
from bdlib.types import EventLog, Labels, Trigger

NUMBERS_VERSION = 2  # raise it when a change here changes numbers
IMAGES = 1000  # test images that the measures use, at most
RATES = (0.01, 0.05, 0.1, 0.2)  # isolation rates at which precision and recall are measured; the paper's first
FIRST = 8  # epochs of stage 1 that are measured one by one, beside the last


@checked
def abl(
    defended: nn.Module,
    test: ImageSet,
    trigger: Trigger,
    truth: Poisoned,
    events: EventLog,
    *,
    target_label: TargetLabel,
    isolation_rate: ranges.PositiveFraction = 0.01,
) -> dict[str, float]:
    """Mean losses in nats; accuracies, success rates, precisions and recalls in [0, 1]; images and epochs counted.

    `trained` is the model before the ascent, `unlearned` the one after it, `recalibrated` that one with BatchNorm
    statistics computed anew on the images that were not isolated, which the defender has. `recalibrated_on_clean` has
    those of all clean training images, which the defender cannot tell from the others. The `visible_signs` are there
    too. Without poison, only what needs none. Empty when no run was watched.
    """
    if "isolated" not in events:
        return {}
    losses, ids = events["losses"], events["isolated"].to(truth.is_poisoned.device)
    networks = {"trained": events["trained"], "unlearned": defended,
                "recalibrated": recalibrated(defended, divide(truth.data, ids)[1])}  # fmt: skip
    if truth.is_poisoned.any():
        networks["recalibrated_on_clean"] = recalibrated(defended, truth.data[~truth.is_poisoned])
    measured = visible_signs(losses, ids, truth.data.labels) | {"ascent_epochs": float(len(events["ascent"]))}
    if events["ascent"]:
        measured["isolated_accuracy"] = events["ascent"][-1]
    images = sample(test, IMAGES)
    scores = {name: evaluate(model, images, trigger, target_label=target_label) for name, model in networks.items()}
    measured |= {f"{name}_accuracy": of_network.clean_accuracy for name, of_network in scores.items()}
    epochs = sorted({*range(min(FIRST, len(losses))), len(losses) - 1})
    measured |= {f"loss_epoch_{epoch + 1}": losses[epoch].mean().item() for epoch in epochs}
    if not truth.is_poisoned.any():
        return measured
    measured |= {f"{name}_asr": of_network.asr for name, of_network in scores.items()}
    for epoch in epochs:
        measured |= separation(losses[epoch], truth.is_poisoned, f"epoch_{epoch + 1}")
    by_summed_loss = isolate(torch.stack(losses).sum(0), isolation_rate)
    return measured | {
        "isolation_precision": share(truth.is_poisoned[ids]),
        "by_summed_loss_precision": share(truth.is_poisoned[by_summed_loss]),
        "poison_rate_of_all": share(truth.is_poisoned),
        "isolation_recall": recall(truth.is_poisoned, ids),
        "poisoned_left": float(truth.is_poisoned.sum() - truth.is_poisoned[ids].sum()),
    }


def visible_signs(losses: Sequence[Losses], ids: Ids, labels: Labels) -> dict[str, float]:
    """What a defender sees of an isolation: its images, the share of their most frequent label, and its steadiness.

    `isolated_again` is the share of the images of lowest loss that are so after the epoch before, too.
    """
    seen = {"isolated_images": float(len(ids)), "isolated_one_class": _largest_class(labels[ids])}
    if len(losses) > 1:
        now, before = (each.argsort(stable=True)[: len(ids)] for each in (losses[-1], losses[-2]))
        seen["isolated_again"] = share(torch.isin(now, before))
    return seen


def separation(losses: Losses, is_poisoned: Bool[Tensor, " n"], when: str) -> dict[str, float]:
    """How well one epoch's losses separate poison: mean losses of both groups, precision and recall at all `RATES`."""
    measured = {f"poisoned_loss_{when}": losses[is_poisoned].mean().item(),
                f"clean_loss_{when}": losses[~is_poisoned].mean().item()}  # fmt: skip
    for rate in RATES:
        ids, name = isolate(losses, rate), f"{100 * rate:.0f}_percent_{when}"
        measured |= {f"precision_{name}": share(is_poisoned[ids]), f"recall_{name}": recall(is_poisoned, ids)}
    return measured


def recall(is_poisoned: Bool[Tensor, " n"], ids: Ids) -> float:
    """The share of the poisoned images that are among `ids`."""
    return (is_poisoned[ids].sum() / is_poisoned.sum()).item()


def _largest_class(labels: Labels) -> float:
    """The share of the most frequent label: 1 where all images are of one class."""
    return (labels.bincount().max() / len(labels)).item()


@torch.no_grad()
def recalibrated(model: nn.Module, data: ImageSet, *, batch_size: int = 500) -> nn.Module:
    """A copy of `model` with the running statistics of its BatchNorm layers computed anew on `data`; no weight moves.

    They become the plain mean over the batches. A few steps on images of one class leave statistics that fit no other
    images. What the network still does once they are repaired, its weights do.
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
