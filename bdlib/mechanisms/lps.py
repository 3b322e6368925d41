"""What selecting the poisoned images by their loss does, measured with their positions known.

Are the selected images harder for the surrogate than the others, and for the victim too? Do the rounds settle? Does one
class fill the set? And do the selected images stand out, so that a defender would find them?
"""

from itertools import pairwise
from math import isfinite
from typing import Annotated, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bdlib import ranges
from bdlib.attacks import SELECTIONS
from bdlib.attacks.poisoning import Poisoned, Positions
from bdlib.attacks.selection.ranking import clean_losses, poison_losses
from bdlib.checks import OneOf, checked
from bdlib.data.images import ImageSet
from bdlib.defenses.fine_prune import activations
from bdlib.evaluation.apply_trigger import TargetLabel
from bdlib.evaluation.trigger_analysis import auc, rank_correlation
from bdlib.models import readout_of
from bdlib.types import Labels, Trigger

NUMBERS_VERSION = 1  # raise it when a change here changes what is measured


class Cost(NamedTuple):
    """Passes of the whole training set through a network; times its images, they are image passes."""

    forward: int
    backward: int


Rounds = Int[Tensor, "sets p"]  # the set before the first round and after each
Losses = Float[Tensor, "scored n"]  # every image's poison loss after each of the last rounds


@checked
def lps(
    model: nn.Module,
    train: ImageSet,
    trigger: Trigger,
    truth: Poisoned,
    selected: dict[str, Tensor],
    *,
    target_label: TargetLabel,
    selection: Annotated[str, OneOf(SELECTIONS)],
    rounds: ranges.CountOrZero,
    round_epochs: ranges.Count,
    iterations: ranges.CountOrZero,
    iteration_epochs: ranges.Count,
) -> dict[str, float]:
    """The measures by name: losses in nats, shares in [0, 1]; without poison only those that need none.

    Candidates are the images outside the target class. What concerns a surrogate is left out where there was none.
    """
    is_candidate, is_selected = train.labels != target_label, truth.is_poisoned
    losses = poison_losses(model, train, trigger, target_label=target_label)
    measured = {
        "poisoned_images": float(is_selected.sum()),
        "selection_epochs": float(surrogate_epochs(selection, rounds=rounds, round_epochs=round_epochs,
                                                   iterations=iterations, iteration_epochs=iteration_epochs)),
        "largest_class_share": largest_share(train.labels[is_selected]),
        "victim_loss_selected": losses[is_selected].mean().item(),
        "victim_loss_candidates": losses[is_candidate].mean().item(),
        "auc_training_loss": auc(clean_losses(model, truth.data), is_selected),
        "auc_spectral": spectral_auc(model, truth, target_label=target_label),
    }  # fmt: skip
    if "losses" in selected:
        measured |= over_rounds(selected["rounds"], selected["losses"], is_candidate.cpu())
        unseen = is_candidate & ~is_selected
        measured["transfer_correlation"] = rank_correlation(selected["losses"][-1][unseen.cpu()], losses[unseen])
    return {name: value for name, value in measured.items() if isfinite(value)}


def surrogate_epochs(selection: str, *, rounds: int, round_epochs: int, iterations: int, iteration_epochs: int) -> int:
    """What a selection costs, in epochs of a surrogate on the whole training set; scoring passes are not counted."""
    if selection.startswith("random"):
        return 0
    return iterations * iteration_epochs if selection == "fus" else rounds * round_epochs


def selection_passes(selection: str, *, rounds: int, round_epochs: int, iterations: int, iteration_epochs: int) -> Cost:
    """What a selection costs, in passes of the whole training set through a network.

    Training an epoch is one forward and one backward pass. LPS scores all images in one more forward pass whenever it
    chooses; FUS counts its events while it trains.

    Example: `selection_passes("lps", rounds=5, round_epochs=1, iterations=3, iteration_epochs=4)` is `Cost(10, 5)`
    """
    epochs = surrogate_epochs(selection, rounds=rounds, round_epochs=round_epochs, iterations=iterations,
                              iteration_epochs=iteration_epochs)  # fmt: skip
    scored = min(rounds, 1) if selection == "lps_one_choice" else rounds
    return Cost(epochs + (scored if selection.startswith("lps") else 0), epochs)


def over_rounds(rounds: Rounds, losses: Losses, is_candidate: Bool[Tensor, " n"]) -> dict[str, float]:
    """The surrogate's `losses` on the sets of all rounds, in nats, and how much these sets share.

    `loss_before_reselection` is the mean loss of the sets just trained on, `loss_after_reselection` that of the sets
    then selected.
    """
    before, after = sawtooth(rounds, losses)
    return {
        "surrogate_loss_selected": after[-1],
        "surrogate_loss_candidates": losses[-1][is_candidate].mean().item(),
        "loss_before_reselection": sum(before) / len(before),
        "loss_after_reselection": sum(after) / len(after),
        "jaccard_between_rounds": sum(jaccard(a, b) for a, b in pairwise(rounds)) / (len(rounds) - 1),
    }


def sawtooth(rounds: Rounds, losses: Losses) -> tuple[list[float], list[float]]:
    """For each round scored, the mean poison loss of the set it was trained on, and of the set then selected."""
    last = rounds[-len(losses) - 1 :]
    before = [scores[ids].mean().item() for scores, ids in zip(losses, last[:-1], strict=True)]
    after = [scores[ids].mean().item() for scores, ids in zip(losses, last[1:], strict=True)]
    return before, after


def jaccard(one: Positions, other: Int[Tensor, " q"]) -> float:
    """How much two sets share: the size of their intersection over that of their union."""
    shared = torch.isin(one, other).sum().item()
    return shared / (len(one) + len(other) - shared)


def largest_share(labels: Labels) -> float:
    """The share of the commonest label; nan where there is none."""
    return (labels.bincount().max() / len(labels)).item() if len(labels) else float("nan")


def spectral_auc(model: nn.Module, truth: Poisoned, *, target_label: int) -> float:
    """How well the spectral signature finds the poison among all images labeled as the target.

    The score is the squared share of an image's features along their main direction. Tran et al., NeurIPS 2018,
    arXiv:1811.00636.
    """
    of_target = truth.data.labels == target_label
    features = activations(model, truth.data[of_target], readout=readout_of(model)).float()
    centered = features - features.mean(0)
    main = torch.linalg.svd(centered, full_matrices=False).Vh[0]
    return auc((centered @ main) ** 2, truth.is_poisoned[of_target])
