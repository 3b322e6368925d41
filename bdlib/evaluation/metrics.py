"""How accurate and how backdoored a model is, how much a defence changed that, and how sure we are."""

import warnings
from dataclasses import dataclass

from torch import nn

from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import triggered_set
from bdlib.models import predict, share
from bdlib.types import Trigger


@dataclass(frozen=True)
class Scores:
    """Fractions in [0, 1]; multiply by 100 only when printing. T: test images of classes other than the target."""

    clean_accuracy: float  # ACC: clean test images given their true label
    asr: float  # attack success rate: share of T, triggered, given the target label
    robust_accuracy: float  # RA: share of T, triggered, given their true label
    clean_accuracy_others: float  # clean accuracy on T alone, the convention of NAD's released code


class PremiseWarning(UserWarning):
    """A comparison rests on a premise that does not hold."""


def evaluate(model: nn.Module, test: ImageSet, trigger: Trigger, *, target_label: int) -> Scores:
    """Score `model` on clean and triggered test images. Images of the target class never count in ASR."""
    attacked = triggered_set(test, trigger, target_label=target_label)
    right = predict(model, test) == test.labels
    guesses = predict(model, attacked)
    return Scores(
        clean_accuracy=share(right),
        asr=share(guesses == target_label),
        robust_accuracy=share(guesses == attacked.labels),
        clean_accuracy_others=share(right[test.labels != target_label]),
    )


def defense_effectiveness(before: Scores, after: Scores) -> float:
    """DER in [0, 1]: half the sum of the ASR removed and one minus the accuracy lost; doing nothing scores 0.5.

    Zhu et al., ICCV 2023, section 4.1. Accuracy gained and ASR added both count as zero.
    """
    removed = max(0.0, before.asr - after.asr)
    lost = max(0.0, before.clean_accuracy - after.clean_accuracy)
    return (removed - lost + 1) / 2


def robustness_improvement(before: Scores, after: Scores) -> float:
    """RIR in [0, 1]: as DER, with the gain in robust accuracy in place of the ASR removed."""
    gained = max(0.0, after.robust_accuracy - before.robust_accuracy)
    lost = max(0.0, before.clean_accuracy - after.clean_accuracy)
    return (gained - lost + 1) / 2


def broken_premises(before: Scores, after: Scores) -> list[str]:
    """What is wrong with reading `after` as a defended backdoor, one sentence each; also warned about."""
    found = []
    if before.asr < 0.9:
        found.append(f"the attack is weak: its success rate is {before.asr:.1%} before any defence")
    if before.clean_accuracy - after.clean_accuracy > 0.1:
        drop = 100 * (before.clean_accuracy - after.clean_accuracy)
        found.append(f"the defence broke the model: clean accuracy fell by {drop:.1f} points")
    for sentence in found:
        warnings.warn(sentence, PremiseWarning, stacklevel=2)
    return found
