"""Activation clustering (AC). Chen et al., 2018, arXiv:1811.03728.

Poisoned images have the target's label for another reason than clean ones, and so other features. Cut the features of
each class into two clusters. In a clean class the two are alike; in the target's, one of them should be the poison.
"""

from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from bdlib import ranges
from bdlib.checks import checked
from bdlib.data.images import ImageSet
from bdlib.defenses.detectors.detection import Detection, features, of_each_class

NUMBERS_VERSION = 1  # raise it when a change here changes numbers
RESTARTS = 10  # of k-means; the best is kept

Rule = Literal["smaller", "relative_size", "silhouette"]


@checked
def activation_clustering(
    model: nn.Module,
    poisoned: ImageSet,
    *,
    components: Annotated[int, Field(ge=1, le=1000)] = 10,  # principal axes that are kept; paper: 10
    rule: Rule = "smaller",  # default of the authors' toolbox
    largest_share: ranges.Fraction = 0.35,  # of its class, for the other two rules; authors' toolbox
    least_silhouette: ranges.Fraction = 0.1,  # for the rule "silhouette"; authors' toolbox
    seed: ranges.Seed = 0,
) -> Detection:
    """The suspicion of every image of a set on which `model` was trained, within the class that its label names.

    It is how much nearer the image is to the center of the smaller cluster than to that of the larger. Flagged is the
    smaller cluster of each class: always by the rule "smaller", which loses a part of every clean class; by
    "relative_size" where it is less than `largest_share` of the class; by "silhouette" where it is that small and the
    mean silhouette is above `least_silhouette`. The paper's fourth rule, which trains a network again, is not here.

    Raises ParameterError for a keyword out of range, and for a network without a linear layer.

    Example::

        detection = activation_clustering(victim, poisoned, rule="relative_size")
    """
    vectors, labels = features(model, poisoned).cpu(), poisoned.labels
    suspicion = torch.zeros(len(labels), dtype=torch.float64)
    flagged = torch.zeros(len(labels), dtype=torch.bool)
    for members in of_each_class(labels.cpu()):
        nearness, in_smaller, silhouette = cluster(vectors[members], components=components, seed=seed)
        suspicion[members] = nearness
        is_small = in_smaller.double().mean() < largest_share
        if rule == "smaller" or (is_small and (rule == "relative_size" or silhouette > least_silhouette)):
            flagged[members] = in_smaller
    return Detection(suspicion.to(labels.device), flagged.to(labels.device))


def cluster(vectors: Float[Tensor, "n d"], *, components: int, seed: int) -> tuple[Tensor, Tensor, float]:
    """Two clusters of the vectors of one class, on their principal axes.

    Returns, for each vector, its distance from the center of the larger cluster minus that from the smaller, and
    whether it is in the smaller; and the mean silhouette, from -1 to 1, high where the clusters are far apart. Vectors
    that are all equal have no clusters: no distance, none in the smaller, and the lowest silhouette.
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.metrics import silhouette_score

    if len(np.unique(vectors.numpy(), axis=0)) < 2:
        return torch.zeros(len(vectors), dtype=torch.float64), torch.zeros(len(vectors), dtype=torch.bool), -1.0
    axes = min(components, *vectors.shape)
    points = PCA(axes, svd_solver="full").fit_transform(vectors.numpy())
    means = KMeans(2, n_init=RESTARTS, random_state=seed).fit(points)
    sizes = np.bincount(means.labels_, minlength=2)
    distances = means.transform(points)
    smaller = int(sizes.argmin())
    nearness = torch.from_numpy(distances[:, 1 - smaller] - distances[:, smaller]).double()
    silhouette = float(silhouette_score(points, means.labels_)) if len(points) > 2 else -1.0
    return nearness, torch.from_numpy(means.labels_ == smaller), silhouette
