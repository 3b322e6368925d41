"""Shared adversarial unlearning (SAU). Wei et al., NeurIPS 2023, arXiv:2307.10562.

Triggered images are adversarial examples of the backdoored model. While the backdoor works, they are also adversarial
examples of the model under repair: both models are fooled into the same class. For every clean image SAU searches such
a shared example, in a few signed gradient steps. It then trains the model to give up the class that the frozen model
sees in the example. No trigger is estimated.
"""

from copy import deepcopy

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from bdlib import ranges
from bdlib.checks import checked
from bdlib.data.images import ImageSet
from bdlib.defenses.sau.adversarial import shared_adversarial_examples
from bdlib.training.demands import trainable
from bdlib.training.loop import Schedule, cross_entropy, train
from bdlib.types import Batch, Images, Labels, Logits, Loss, OnEvent, ignore

NUMBERS_VERSION = 1  # raise it when a change in this folder changes numbers


@checked
def sau(
    model: nn.Module,
    clean: ImageSet,
    *,
    lambda_2: ranges.Weight = 0.0,  # of adversarial training; paper not seen; released code, as all below
    lambda_3: ranges.Weight = 1.0,  # of the unlearning
    beta_1: ranges.Weight = 0.01,  # inner problem: of fooling either model
    beta_2: ranges.Weight = 1.0,  # inner problem: of fooling them alike
    epsilon: ranges.Fraction = 0.2,  # largest change of a pixel
    step_size: ranges.PositiveFraction = 0.2,  # of a pixel, each inner step
    inner_steps: ranges.Count = 5,
    epochs: ranges.CountOrZero = 100,  # rounds over the clean images
    learning_rate: ranges.LearningRate = 1e-4,  # constant: the released code builds a scheduler and never steps it
    batch_size: ranges.BatchSize = 256,
    train_mode: bool = False,  # of BatchNorm in the outer step; else the victim's running statistics are used and kept
    variant: ranges.Variant = "paper",
    seed: ranges.Seed = 0,
    on_event: OnEvent = ignore,
) -> nn.Module:
    """A repaired copy of `model`, by Adam with AMSGrad and no augmentation; `clean` is the defender's trusted set.

    Example::

        repaired = sau(victim, clean, epochs=10, learning_rate=1e-3, batch_size=50)

    With `lambda_2` and `lambda_3` zero it is plain fine-tuning, and no inner problem is solved. `variant="released"`
    clamps the unlearning term. `on_event` is told "epoch" (`bdlib.training.loop.Epoch`) after each round. Raises
    ParameterError for a keyword out of range.
    """
    frozen, student = deepcopy(model).eval().requires_grad_(False), deepcopy(model).requires_grad_(True)

    def loss_fn(network: nn.Module, batch: Batch) -> Loss:
        network.eval()  # the loop has set training mode; the inner problem is always solved in evaluation mode
        shift = None
        if lambda_2 or lambda_3:
            shift = shared_adversarial_examples(network, frozen, batch.images, batch.labels, beta_1=beta_1,
                                                beta_2=beta_2, epsilon=epsilon, step_size=step_size,
                                                inner_steps=inner_steps)  # fmt: skip
        network.train(train_mode)
        if shift is None:
            return cross_entropy(network, batch)
        return unlearning_loss(network, frozen, batch, shift, lambda_2=lambda_2, lambda_3=lambda_3, variant=variant)

    schedule = Schedule(epochs, learning_rate, anneal="constant", batch_size=batch_size, augmentation=None, seed=seed)
    adam = torch.optim.Adam(trainable(student.parameters()), learning_rate, amsgrad=True)
    return train(student, clean, schedule, loss_fn=loss_fn, optimizer=adam, on_event=on_event)


@checked
def unlearning_loss(
    model: nn.Module, frozen: nn.Module, batch: Batch, shift: Images, *,
    lambda_2: ranges.Weight = 0.0, lambda_3: ranges.Weight = 1.0, variant: ranges.Variant = "paper",
) -> Loss:  # fmt: skip
    """The outer loss: fit the clean labels, and give up the class that the frozen model sees in image plus `shift`.

    The unlearning counts only images whose perturbation really flips the frozen model: its answer is neither the label
    nor its own answer to the clean image. Their sum is divided by the whole batch, not by their number.
    """
    with torch.no_grad():
        wrong, usual = frozen(batch.images + shift).argmax(1), frozen(batch.images).argmax(1)
    plain, adversarial = model(torch.cat([batch.images, batch.images + shift])).chunk(2)
    flipped = (wrong != batch.labels) & (wrong != usual)
    loss = F.cross_entropy(plain, batch.labels) + lambda_2 * F.cross_entropy(adversarial, batch.labels)
    return loss + lambda_3 * rejection(adversarial, wrong, variant=variant)[flipped].sum() / len(batch.labels)


@checked
def rejection(logits: Logits, classes: Labels, *, variant: ranges.Variant = "paper") -> Float[Tensor, " n"]:
    """-log(1 - p) for the probability p of each image's class in `classes`; 0 or more.

    "released" averages two forms of it with clamps: no gradient where p < 0.001, hardly any where 1 - p < 1e-6.
    """
    is_rejected = F.one_hot(classes, logits.shape[1]).bool()
    if variant == "paper":
        return -logits.log_softmax(1).masked_fill(is_rejected, -torch.inf).logsumexp(1)
    p = logits.softmax(1)[is_rejected]
    return -((1e-6 + (1 - p).clamp_max(0.999)).log() + (1 + 1e-6 - p.clamp_min(0.001)).log()) / 2
