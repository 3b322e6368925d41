"""How well a detector tells poisoned images from clean ones. A poisoned image is a positive."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bdlib import ranges
from bdlib.checks import ParameterError, checked

NUMBERS_VERSION = 1  # raise it when a change here changes a score

Suspicion = Float[Tensor, " n"]
Flags = Bool[Tensor, " n"]


@checked
def auroc(suspicion: Suspicion, is_poisoned: Flags) -> float:
    """The share of pairs of a poisoned and a clean image of which the poisoned is more suspicious; a tie counts half.

    1 for perfect order, 0.5 for none. Raises ParameterError unless there are poisoned and clean images.

    Example: `auroc(detection.suspicion, truth.is_poisoned)`
    """
    from sklearn.metrics import roc_auc_score

    _require_both(suspicion, is_poisoned)
    return float(roc_auc_score(is_poisoned.cpu().numpy(), suspicion.cpu().numpy()))


@checked
def found_at(suspicion: Suspicion, is_poisoned: Flags, *, false_positive_rate: ranges.Fraction = 0.01) -> float:
    """TPR: the largest share of poisoned images that a threshold on `suspicion` finds at this share of clean ones.

    The threshold is chosen with the truth, so only an oracle has it; a detector's own decision is what `rates` scores.
    Raises ParameterError unless there are poisoned and clean images.
    """
    from sklearn.metrics import roc_curve

    _require_both(suspicion, is_poisoned)
    wrong, found, _ = roc_curve(is_poisoned.cpu().numpy(), suspicion.cpu().numpy(), drop_intermediate=False)
    return float(found[wrong <= false_positive_rate].max())


@checked
def rates(flagged: Flags, is_poisoned: Flags) -> dict[str, float]:
    """A decision's `tpr`, the share of poisoned images that it flags, and `fpr`, that of clean ones; and what it takes.

    `flagged_share` is of all images. Raises ParameterError unless there are poisoned and clean images.
    """
    _require_both(flagged, is_poisoned)
    tpr, fpr = (flagged[members].double().mean().item() for members in (is_poisoned, ~is_poisoned))
    return {"tpr": tpr, "fpr": fpr, "flagged_share": flagged.double().mean().item()}


@checked
def rate_after(poison_rate: ranges.Fraction, *, tpr: ranges.Fraction, fpr: ranges.Fraction) -> float:
    """The share of poisoned images in what a filter of these rates leaves; nan where it leaves nothing.

    Example: `rate_after(0.1, tpr=0.5, fpr=0.5)` is 0.1: a filter that cannot tell them apart changes no share.
    """
    poisoned, clean = poison_rate * (1 - tpr), (1 - poison_rate) * (1 - fpr)
    return poisoned / (poisoned + clean) if poisoned + clean else float("nan")


def _require_both(scores: Tensor, is_poisoned: Flags) -> None:
    if len(scores) != len(is_poisoned):
        raise ParameterError(f"is_poisoned: has {len(is_poisoned)} flags for {len(scores)} images")
    if not (is_poisoned.any() and (~is_poisoned).any()):
        raise ParameterError("is_poisoned: must have poisoned images and clean ones")
    if scores.is_floating_point() and not torch.isfinite(scores).all():
        raise ParameterError("suspicion: must be finite")
