"""What SAU says happens inside: adversarial examples of the backdoored model stop being shared with the repaired one.

It is measured with one inner problem, the released code's, whatever the settings of the defense, and on test images of
classes other than the target, which neither model has seen.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bdlib.checks import checked
from bdlib.data.images import ImageSet
from bdlib.defenses.sau.adversarial import flips, jensen_shannon, shared_adversarial_examples
from bdlib.evaluation.apply_trigger import TargetLabel, triggered_set
from bdlib.types import Images, Labels, Logits, Trigger

NUMBERS_VERSION = 1  # raise it when a change here changes numbers
COUNT = 200  # test images, as many as a record can afford


class Answers(NamedTuple):
    """Two models' logits on the same images, perturbed and clean."""

    model: Logits
    frozen: Logits
    model_clean: Logits
    frozen_clean: Logits


@checked
def sau(
    model: nn.Module,
    defended: nn.Module,
    clean: ImageSet,
    test: ImageSet,
    trigger: Trigger,
    *,
    target_label: TargetLabel,
) -> dict[str, float]:
    """Shares of images in [0, 1], and mean divergences of the two models' answers in nats.

    `before`: examples against the victim alone. `after`: new examples against the victim and the repaired model
    together; `alone`: against the repaired model alone; `kept`: those of `before`, shown to both. `target_before` and
    `target_after` are the share of the target class in the victim's wrong answers to the examples; chance is one in
    the number of other classes. They are left out if there are no wrong answers.
    """
    images, labels = first_of_others(test, target_label=target_label, count=COUNT)
    attacked_test = triggered_set(test, trigger, target_label=target_label)
    triggered = first_of_others(attacked_test, target_label=target_label, count=COUNT)[0]
    old_examples = examples(model, model, images, labels)
    before = answers(model, model, images, old_examples)
    after = answers(defended, model, images, examples(defended, model, images, labels))
    alone = answers(defended, defended, images, examples(defended, defended, images, labels))
    last, attacked = census(after), census(answers(defended, model, images, triggered))
    measured = {
        "fooled_before": census(before)["fooled"],
        "shared_before": census(before)["shared"],
        **{f"{name}_after": value for name, value in last.items()},
        "fooled_alone": census(alone)["fooled"],
        "shared_kept": census(answers(defended, model, images, old_examples))["shared"],
        "triggered_shared_before": census(answers(model, model, images, triggered))["shared"],
        "triggered_shared_after": attacked["shared"],
        "triggered_divergence": attacked["divergence"],
    }
    shares = {"target_before": wrong_answers(before, labels), "target_after": wrong_answers(after, labels)}
    return measured | {name: share[target_label].item() for name, share in shares.items() if share.sum() > 0}


def first_of_others(test: ImageSet, *, target_label: int, count: int) -> tuple[Images, Labels]:
    """The first `count` images of classes other than the target, pixels in [0, 1], and their labels."""
    others = test[test.labels != target_label]
    return others.images[:count].float() / 255, others.labels[:count]


def examples(model: nn.Module, frozen: nn.Module, images: Images, labels: Labels) -> Images:
    """The perturbed images, with the released settings of the inner problem; not clipped to [0, 1]."""
    return images + shared_adversarial_examples(model, frozen, images, labels)


@torch.no_grad()
def answers(model: nn.Module, frozen: nn.Module, images: Images, perturbed: Images) -> Answers:
    """Both models' answers to `images` and to their perturbed copies."""
    return Answers(model(perturbed), frozen(perturbed), model(images), frozen(images))


def census(logits: Answers) -> dict[str, float]:
    """How many images fool the models. `shared`, `sole` and `neither` are shares of images that add up to one.

    shared: both models are fooled into the same class; sole: one of them is, or both into different classes.
    `fooled` and `frozen_fooled` count each model by itself; `divergence` is the mean Jensen-Shannon divergence in nats.
    """
    flipped = flips(*logits)
    anyone = (flipped.model | flipped.frozen).double().mean().item()
    shared = flipped.shared.double().mean().item()
    return {
        "shared": shared,
        "sole": anyone - shared,
        "neither": 1 - anyone,
        "fooled": flipped.model.double().mean().item(),
        "frozen_fooled": flipped.frozen.double().mean().item(),
        "divergence": jensen_shannon(logits.model, logits.frozen).double().mean().item(),
    }


def wrong_answers(logits: Answers, labels: Labels) -> Float[Tensor, " k"]:
    """The share of each class among the frozen model's flipped answers; all zero if there are none.

    Flipped as in the unlearning loss: neither the label nor the answer to the clean image.
    """
    wrong = logits.frozen.argmax(1)
    flipped = wrong[(wrong != labels) & (wrong != logits.frozen_clean.argmax(1))]
    return torch.bincount(flipped, minlength=logits.frozen.shape[1]) / max(1, len(flipped))
