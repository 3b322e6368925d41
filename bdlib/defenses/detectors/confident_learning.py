"""Confident learning. Northcutt, Jiang and Chuang, JAIR 2021, arXiv:1911.00068, as the library cleanlab has it.

It looks for wrong labels, not for triggers. A network's probabilities say which class each image seems to have. An
image counts for a class if it is at least as sure of that class as the images labeled so are on average. The table of
given labels against such counts says how many labels of each class are wrong, and the least likely labels go first.
"""

import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from bdlib.checks import ParameterError, checked
from bdlib.data.images import ImageSet, batches
from bdlib.defenses.detectors.detection import Detection
from bdlib.models import evaluation_mode
from bdlib.types import Labels

NUMBERS_VERSION = 1  # raise it when a change here changes numbers

Rule = Literal["prune_by_noise_rate", "prune_by_class", "both", "confident_learning", "predicted_neq_given"]
Probabilities = Float[Tensor, "n k"]  # of each class for each image; rows sum to 1


@checked
def confident_learning(model: nn.Module, poisoned: ImageSet, *, rule: Rule = "prune_by_noise_rate") -> Detection:
    """The suspicion of every image of a set, 1 minus the probability that `model` gives to the image's own label.

    `rule` is cleanlab's `filter_by`, of which the default is cleanlab's own. The method expects probabilities of a
    network that has not been trained on the image. A network that was trained on all of `poisoned` has seen it, and
    finds fewer wrong labels the better it has learned them by heart.

    Raises ParameterError for a keyword out of range, for a set with one label alone, and without cleanlab.

    Example::

        detection = confident_learning(victim, poisoned)
    """
    require_cleanlab()
    found = probabilities(model, poisoned)
    given = found.gather(1, poisoned.labels[:, None]).squeeze(1)
    return Detection(1 - given, label_issues(poisoned.labels, found, rule=rule).to(given.device))


@checked
def label_issues(
    labels: Labels, probabilities: Probabilities, *, rule: Rule = "prune_by_noise_rate"
) -> Bool[Tensor, " n"]:
    """Which of the given `labels` are wrong, by `probabilities` of any classifier, best one that has not seen them.

    Raises ParameterError for labels that are all one, for probabilities that are none, and without cleanlab.

    Example: `label_issues(torch.tensor([0, 0, 1, 1]), torch.tensor([[.9, .1], [.2, .8], [.1, .9], [.3, .7]]))`
    """
    find_label_issues = require_cleanlab()
    if len(labels.unique()) < 2:
        raise ParameterError("labels: must be of two classes or more")
    if len(labels) != len(probabilities) or int(labels.max()) >= probabilities.shape[1]:
        raise ParameterError(f"probabilities: {tuple(probabilities.shape)} do not fit {len(labels)} labels")
    if int(labels.min()) < 0:
        raise ParameterError(f"labels: must be from 0 to {probabilities.shape[1] - 1}")
    if not bool(torch.isfinite(probabilities).all()) or bool((probabilities < 0).any()):
        raise ParameterError("probabilities: must be finite and not below 0")
    if bool((probabilities.sum(1) - 1).abs().max() > 0.01):
        raise ParameterError("probabilities: must add up to 1 in every row")
    given, rows = labels.cpu().numpy(), probabilities.double().cpu().numpy()
    return torch.from_numpy(np.asarray(find_label_issues(given, rows, filter_by=rule, n_jobs=1)))


@torch.no_grad()
def probabilities(model: nn.Module, data: ImageSet) -> Probabilities:
    """What the network says of every image, shape (n, classes), in double precision; in evaluation mode."""
    with evaluation_mode(model):
        return torch.cat([model(batch.images).double().softmax(1) for batch in batches(data, 500)])


def require_cleanlab() -> Callable[..., Any]:
    """cleanlab's `find_label_issues`, which is imported where it is used. Raises ParameterError without cleanlab."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its progress bars ask for widgets
            from cleanlab.filter import find_label_issues
    except ImportError as error:
        raise ParameterError(f"confident learning needs cleanlab: pip install 'bdlib[run]' ({error})") from None
    return find_label_issues
