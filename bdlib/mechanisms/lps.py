"""What choosing the poisoned images by their loss does, measured with their places in hand.

Are the chosen images harder for the surrogate than the others, and for the victim too? Do the rounds settle? Does one
class fill the set? And do the chosen images stand out, so that a defender would find them?
"""

from itertools import pairwise
from math import isfinite

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from bdlib.attacks.poisoning import Poisoned
from bdlib.attacks.selection.ranking import Positions, Scores, clean_losses, poison_losses
from bdlib.data.images import ImageSet
from bdlib.defenses.fine_prune import activations
from bdlib.evaluation.trigger_analysis import rank_correlation
from bdlib.types import Labels, Trigger

Rounds = Int[Tensor, "sets p"]  # the set before the first round and after each
Losses = Float[Tensor, "scored n"]  # every image's poison loss after each of the last rounds


def lps(
    model: nn.Module,
    train: ImageSet,
    trigger: Trigger,
    truth: Poisoned,
    selected: dict[str, Tensor],
    *,
    target_label: int,
    selection: str,
    rounds: int,
    round_epochs: int,
    iterations: int,
    iteration_epochs: int,
) -> dict[str, float]:
    """Losses in nats, shares in [0, 1]; without poison only what needs none.

    Candidates are the images outside the target class. What concerns a surrogate is left out where there was none.
    """
    outside, chosen = train.labels != target_label, truth.is_poisoned
    hard = poison_losses(model, train, trigger, target_label=target_label)
    found = {
        "poisoned_images": float(chosen.sum()),
        "selection_epochs": float(surrogate_epochs(selection, rounds=rounds, round_epochs=round_epochs,
                                                   iterations=iterations, iteration_epochs=iteration_epochs)),
        "largest_class_share": largest_share(train.labels[chosen]),
        "victim_loss_selected": hard[chosen].mean().item(),
        "victim_loss_candidates": hard[outside].mean().item(),
        "auc_training_loss": auc(clean_losses(model, truth.data), chosen),
        "auc_spectral": spectral_auc(model, truth, target_label=target_label),
    }  # fmt: skip
    if "losses" in selected:
        found |= over_rounds(selected["rounds"], selected["losses"], outside.cpu())
        unseen = outside & ~chosen
        found["transfer_correlation"] = rank_correlation(selected["losses"][-1][unseen.cpu()], hard[unseen])
    return {name: value for name, value in found.items() if isfinite(value)}


def surrogate_epochs(selection: str, *, rounds: int, round_epochs: int, iterations: int, iteration_epochs: int) -> int:
    """What a selection costs, in epochs of a surrogate on the whole training set; scoring passes are not counted."""
    if selection == "random":
        return 0
    return iterations * iteration_epochs if selection == "fus" else rounds * round_epochs


def over_rounds(rounds: Rounds, losses: Losses, outside: Bool[Tensor, " n"]) -> dict[str, float]:
    """What the surrogate made of the sets, by its `losses`.

    `before_reselection` is the mean loss of the sets just trained on, `after_reselection` that of the sets then chosen.
    """
    before, after = sawtooth(rounds, losses)
    return {
        "surrogate_loss_selected": after[-1],
        "surrogate_loss_candidates": losses[-1][outside].mean().item(),
        "loss_before_reselection": sum(before) / len(before),
        "loss_after_reselection": sum(after) / len(after),
        "jaccard_between_rounds": sum(jaccard(a, b) for a, b in pairwise(rounds)) / (len(rounds) - 1),
    }


def sawtooth(rounds: Rounds, losses: Losses) -> tuple[list[float], list[float]]:
    """For each round scored, the mean poison loss of the set it was trained on, and of the set then chosen."""
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


def auc(scores: Scores, wanted: Bool[Tensor, " n"]) -> float:
    """How often a wanted image scores above another, ties counting half; nan where either kind is missing."""
    from scipy.stats import rankdata

    ranks = torch.from_numpy(rankdata(scores.detach().cpu().double().numpy()))
    first, second = int(wanted.sum()), int((~wanted).sum())
    if not first * second:
        return float("nan")
    return (ranks[wanted.cpu()].sum().item() - first * (first + 1) / 2) / (first * second)


def spectral_auc(model: nn.Module, truth: Poisoned, *, target_label: int) -> float:
    """How well the spectral signature finds the poison among all images labelled as the target.

    The score is the squared share of an image's features along their main direction. Tran et al., NeurIPS 2018,
    arXiv:1811.00636.
    """
    of_target = truth.data.labels == target_label
    last = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1]
    features = activations(model, truth.data[of_target], readout=last).float()
    centred = features - features.mean(0)
    main = torch.linalg.svd(centred, full_matrices=False).Vh[0]
    return auc((centred @ main) ** 2, truth.is_poisoned[of_target])
