"""What SAU says happens inside: adversarial examples of the backdoored model stop being shared with the repaired one.

Measured with one inner problem, the released code's, whatever settings the defence ran with, and on test images of
classes other than the target, which neither model has seen.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bdlib.data.images import ImageSet
from bdlib.defenses.sau.adversarial import flips, jensen_shannon, shared_adversarial_examples
from bdlib.evaluation.apply_trigger import triggered_set
from bdlib.types import Images, Labels, Logits, Trigger

COUNT = 200  # test images, as many as a record can afford


class Answers(NamedTuple):
    """Two models' logits on the same images, perturbed and clean."""

    model: Logits
    frozen: Logits
    model_clean: Logits
    frozen_clean: Logits


def sau(
    model: nn.Module, defended: nn.Module, clean: ImageSet, test: ImageSet, trigger: Trigger, *, target_label: int
) -> dict[str, float]:
    """Shares of images in [0, 1], and mean divergences of the two models' answers in nats.

    `before`: examples found against the victim alone. `after`: found anew against the victim and the repaired model
    together; `alone`: against the repaired model alone; `kept`: those of `before`, shown to both. `target_before` and
    `target_after` are the share of the target class in the victim's wrong answers to the examples; chance is one in
    the number of other classes. Left out where the victim has none.
    """
    images, labels = some_of(test, target_label=target_label, count=COUNT)
    mine = found(model, model, images, labels)
    before, kept = answers(model, model, images, mine), answers(defended, model, images, mine)
    after = answers(defended, model, images, found(defended, model, images, labels))
    alone = answers(defended, defended, images, found(defended, defended, images, labels))
    stamped = some_of(triggered_set(test, trigger, target_label=target_label), target_label=target_label, count=COUNT)[
        0
    ]
    attacked = answers(defended, model, images, stamped)
    counts, last = census(before), census(after)
    measures = {
        "fooled_before": counts["fooled"],
        "shared_before": counts["shared"],
        **{f"{name}_after": value for name, value in last.items()},
        "fooled_alone": census(alone)["fooled"],
        "shared_kept": census(kept)["shared"],
        "triggered_shared_before": census(answers(model, model, images, stamped))["shared"],
        "triggered_shared_after": census(attacked)["shared"],
        "triggered_divergence": census(attacked)["divergence"],
    }
    shares = {"target_before": wrong_answers(before, labels), "target_after": wrong_answers(after, labels)}
    return measures | {name: share[target_label].item() for name, share in shares.items() if share.sum() > 0}


def some_of(test: ImageSet, *, target_label: int, count: int) -> tuple[Images, Labels]:
    """The first `count` images of classes other than the target, pixels in [0, 1], and their labels."""
    others = test[test.labels != target_label]
    return others.images[:count].float() / 255, others.labels[:count]


def found(model: nn.Module, frozen: nn.Module, images: Images, labels: Labels) -> Images:
    """The perturbed images, by the released settings of the inner problem; not clipped to [0, 1]."""
    return images + shared_adversarial_examples(model, frozen, images, labels)


@torch.no_grad()
def answers(model: nn.Module, frozen: nn.Module, images: Images, perturbed: Images) -> Answers:
    """What both models say to `images` and to their perturbed copies."""
    return Answers(model(perturbed), frozen(perturbed), model(images), frozen(images))


def census(said: Answers) -> dict[str, float]:
    """Who is fooled. `shared`, `sole` and `neither` are shares of images that add up to one.

    shared: both models are fooled into the same class; sole: one of them is, or both into different classes.
    `fooled` and `frozen_fooled` count each model by itself; `divergence` is the mean Jensen-Shannon divergence in nats.
    """
    who = flips(*said)
    anyone = (who.model | who.frozen).double().mean().item()
    shared = who.shared.double().mean().item()
    return {
        "shared": shared,
        "sole": anyone - shared,
        "neither": 1 - anyone,
        "fooled": who.model.double().mean().item(),
        "frozen_fooled": who.frozen.double().mean().item(),
        "divergence": jensen_shannon(said.model, said.frozen).double().mean().item(),
    }


def wrong_answers(said: Answers, labels: Labels) -> Float[Tensor, " k"]:
    """How the frozen model's flipped answers are spread over the classes: shares that add up to one; 0 without any.

    Flipped as in the unlearning loss: neither the label nor the answer to the clean image.
    """
    wrong = said.frozen.argmax(1)
    flipped = wrong[(wrong != labels) & (wrong != said.frozen_clean.argmax(1))]
    return torch.bincount(flipped, minlength=said.frozen.shape[1]) / max(1, len(flipped))
