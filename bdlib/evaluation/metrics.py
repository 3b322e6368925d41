"""How accurate and how backdoored a model is, and how much a defense changed that."""

import warnings
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor, nn

from bdlib import ranges
from bdlib.checks import CheckedFields, checked
from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import AllToOne, AttackedSet, TargetLabel, attacked_set
from bdlib.models import predict, share
from bdlib.types import Labels, Relabel, Trigger

NUMBERS_VERSION = 1  # raise it when a change here changes a score
WORKS = 0.9  # the ASR from which an attack is called successful


@dataclass(frozen=True)
class Scores(CheckedFields):
    """Fractions in [0, 1]; multiply by 100 only when printing. T: the test images whose label the attack changes.

    With a single target these are the test images of all other classes.
    """

    clean_accuracy: ranges.Fraction  # ACC: share of the clean test images given their true label
    asr: ranges.Fraction  # attack success rate: share of T, triggered, given the label that the attack wants
    robust_accuracy: ranges.Fraction  # RA: share of T, triggered, given their true label
    clean_accuracy_others: ranges.Fraction  # clean accuracy on T alone, the convention of NAD's released code


class PremiseWarning(UserWarning):
    """A comparison rests on a premise that does not hold."""


@checked
def evaluate(model: nn.Module, test: ImageSet, trigger: Trigger, *, target_label: TargetLabel) -> Scores:
    """The scores of `model` on clean and triggered test images, for an attack with a single target.

    Images of the target class never count in the attack success rate. Raises ParameterError for a target that is no
    class of the network, and for a network, images and a trigger that do not fit each other.

    Example: `evaluate(model, test, BadNets(), target_label=0).asr`
    """
    return evaluate_attack(model, test, trigger, AllToOne(target_label))


@checked
def evaluate_attack(model: nn.Module, test: ImageSet, trigger: Trigger, relabel: Relabel) -> Scores:
    """As `evaluate`, for any relabeling: `AllToOne(target_label)`, or `AllToAll(num_classes)`."""
    attacked = attacked_set(test, trigger, relabel)
    return scores_of_guesses(test, attacked, relabel, predict(model, test), predict(model, attacked.triggered))


def scores_of_guesses(
    test: ImageSet, attacked: AttackedSet, relabel: Relabel, on_clean: Labels, on_triggered: Int[Tensor, " t"]
) -> Scores:
    """The scores of a network that gave these labels to the images of `test`, and to `attacked.triggered`."""
    is_right = on_clean == test.labels
    return Scores(
        clean_accuracy=share(is_right),
        asr=share(on_triggered == attacked.wanted),
        robust_accuracy=share(on_triggered == attacked.clean.labels),
        clean_accuracy_others=share(is_right[relabel(test.labels) != test.labels]),
    )


@checked
def defense_effectiveness(before: Scores, after: Scores) -> float:
    """DER in [0, 1]: half the sum of the ASR removed and one minus the accuracy lost; doing nothing scores 0.5.

    Zhu et al., ICCV 2023, section 4.1. Accuracy gained and ASR added both count as zero.
    """
    removed = max(0.0, before.asr - after.asr)
    lost = max(0.0, before.clean_accuracy - after.clean_accuracy)
    return (removed - lost + 1) / 2


@checked
def robustness_improvement(before: Scores, after: Scores) -> float:
    """RIR in [0, 1]: as DER, with the gain in robust accuracy in place of the ASR removed."""
    gained = max(0.0, after.robust_accuracy - before.robust_accuracy)
    lost = max(0.0, before.clean_accuracy - after.clean_accuracy)
    return (gained - lost + 1) / 2


@checked
def broken_premises(before: Scores, after: Scores) -> list[str]:
    """What is wrong with reading `after` as a defended backdoor, one sentence each.

    Each is also given as a PremiseWarning: an attack success rate below 90 % before any defense, and clean accuracy
    that the defense lowered by more than 10 points.
    """
    broken = []
    if before.asr < WORKS:
        broken.append(f"the attack is weak: its success rate is {before.asr:.1%} before any defence")
    if before.clean_accuracy - after.clean_accuracy > 0.1:
        drop = 100 * (before.clean_accuracy - after.clean_accuracy)
        broken.append(f"the defence broke the model: clean accuracy fell by {drop:.1f} points")
    for sentence in broken:
        warnings.warn(sentence, PremiseWarning, stacklevel=2)
    return broken
