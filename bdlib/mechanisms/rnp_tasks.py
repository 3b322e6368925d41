"""What RNP's unlearned model is worth to other defenses' tasks, each beside the same done with the victim itself.

The abstract names four: removing the backdoor (RNP itself does), recovering the trigger, finding the target label, and
telling triggered images from clean ones. How the paper does them was not seen; these are the plainest ways that we
know. The numbers belong to the version of `bdlib.mechanisms.rnp`.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from bdlib.data.images import ImageSet, batches
from bdlib.evaluation.apply_trigger import apply_trigger, triggered_set
from bdlib.evaluation.metrics import evaluate
from bdlib.evaluation.trigger_analysis import auc
from bdlib.models import evaluation_mode, predict, share
from bdlib.types import Images, Trigger

STEPS = 100  # of the search for a trigger
SIZE_WEIGHT = 1e-3  # of the mask's sum in that search; where Neural Cleanse begins


def other_tasks(
    model: nn.Module, unlearned: nn.Module, clean: ImageSet, test: ImageSet, trigger: Trigger, *,
    target_label: int, seed: int = 0,
) -> dict[str, float]:  # fmt: skip
    """Trigger recovery and sample detection by the unlearned model, and by `model` (names that begin with "victim").

    "recovered_likeness" is that of `likeness`, in [-1, 1]; "recovered_asr" the share of test images of other classes
    that the recovered trigger sends to the target in `model`; "detection_auc" how often a triggered image scores above
    a clean one, 0.5 by chance.
    """
    measured = {}
    for prefix, network in (("", unlearned), ("victim_", model)):
        found = recover_trigger(network, clean, target_label=target_label, seed=seed)
        measured[f"{prefix}recovered_likeness"] = likeness(found, trigger, test)
        measured[f"{prefix}recovered_asr"] = evaluate(model, test, found, target_label=target_label).asr
        measured[f"{prefix}detection_auc"] = detection_auc(network, model, test, trigger, target_label=target_label)
    return measured


def errors_at(model: nn.Module, clean: ImageSet, label: int) -> float:
    """Of the images of other classes that `model` gets wrong, the share that it gives `label`; nan without any."""
    guesses = predict(model, clean)
    wrong = (guesses != clean.labels) & (clean.labels != label)
    return share(guesses[wrong] == label)


def recover_trigger(model: nn.Module, clean: ImageSet, *, target_label: int, seed: int = 0) -> Trigger:
    """A small pattern and mask that make `model` give the target to clean images of other classes: a trigger.

    Wang et al. 2019 (Neural Cleanse), with a fixed weight of the mask's size and `STEPS` steps.
    """
    others = clean[clean.labels != target_label]
    pattern = torch.zeros(others.images.shape[1:], device=others.images.device, requires_grad=True)
    mask = torch.zeros_like(pattern[:1], requires_grad=True)
    optimizer = torch.optim.Adam([pattern, mask], lr=0.1, betas=(0.5, 0.9))
    generator, step = Generator().manual_seed(seed), 0
    with evaluation_mode(model):
        while step < STEPS:
            for batch in batches(others, 64, generator=generator):
                loss = F.cross_entropy(
                    model(_paste(batch.images, pattern, mask)), torch.full_like(batch.labels, target_label)
                )
                gradients = torch.autograd.grad(loss + SIZE_WEIGHT * mask.sigmoid().sum(), [pattern, mask])
                pattern.grad, mask.grad = gradients
                optimizer.step()
                step += 1
                if step == STEPS:
                    break
    return lambda images: _paste(images, pattern.detach(), mask.detach())


def _paste(images: Images, pattern: Float[Tensor, "c h w"], mask: Float[Tensor, "1 h w"]) -> Images:
    """The pattern over the images, as far as the mask says; both are logits."""
    return images + mask.sigmoid() * (pattern.sigmoid() - images)


def likeness(found: Trigger, trigger: Trigger, test: ImageSet) -> float:
    """The cosine between the mean changes that two triggers make to the images, in [-1, 1]; works for any trigger."""
    plain = test.images.float()
    one, other = ((apply_trigger(test.images, each).float() - plain).mean(0).flatten() for each in (found, trigger))
    return F.cosine_similarity(one, other, dim=0).item()


@torch.no_grad()
def detection_auc(scorer: nn.Module, model: nn.Module, test: ImageSet, trigger: Trigger, *, target_label: int) -> float:
    """How well `scorer` tells triggered test images of other classes from clean test images.

    An image's score is the probability that `scorer` gives the class which `model` predicts: a triggered image keeps
    its class where the clean task is forgotten.
    """
    scores = []
    for data in (triggered_set(test, trigger, target_label=target_label), test):
        labeled = ImageSet(data.images, predict(model, data))
        with evaluation_mode(scorer):
            logits = torch.cat([scorer(batch.images) for batch in batches(labeled, 500)])
        scores.append(logits.softmax(1).gather(1, labeled.labels[:, None]).flatten())
    return auc(torch.cat(scores), torch.cat([torch.ones_like(scores[0]), torch.zeros_like(scores[1])]).bool())
