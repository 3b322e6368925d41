"""Features as a picture: t-SNE, and a number that says whether triggered images keep to themselves."""

from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from bdlib import ranges
from bdlib.checks import ParameterError, checked

Features = Float[Tensor, "n u"]


@checked
def tsne_map(
    features: Features, *, perplexity: Annotated[float, Field(gt=1, le=1000)] = 30.0, seed: ranges.Seed = 0
) -> Float[Tensor, "n 2"]:
    """The features in two dimensions, neighbors beside neighbors: t-SNE by scikit-learn, begun at the main plane.

    Van der Maaten and Hinton, JMLR 2008. Distances between groups and their sizes mean nothing. Raises ParameterError
    unless there are more than three images for each unit of `perplexity`.

    Example: `tsne_map(unit_activations(model, images, "flatten"))`
    """
    from sklearn.manifold import TSNE

    if len(features) <= 3 * perplexity:
        raise ParameterError(f"perplexity={perplexity:g}: must be below a third of the {len(features)} images")
    drawn = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1)
    return torch.from_numpy(drawn.fit_transform(features.detach().cpu().double().numpy())).float()


@checked
def island_purity(
    features: Features, members: Bool[Tensor, " n"], *, neighbors: Annotated[int, Field(ge=1)] = 10
) -> float:
    """The share of the members' nearest `neighbors` that are members too: 1 for an island, their share where mixed.

    Raises ParameterError without members, and for more neighbors than other images.

    Example: `island_purity(unit_activations(model, both, "flatten"), is_triggered)`
    """
    from sklearn.neighbors import NearestNeighbors

    if not members.any() or neighbors >= len(features):
        raise ParameterError(f"neighbors={neighbors}: must be below {len(features)} images, some of them members")
    places, chosen = features.detach().cpu().double().numpy(), members.cpu()
    near = NearestNeighbors(n_neighbors=neighbors + 1).fit(places).kneighbors(places, return_distance=False)
    nearest = torch.from_numpy(near[chosen.numpy()])
    others = nearest != chosen.nonzero()  # an image is no neighbor of itself, also among duplicates
    keep = others & (others.cumsum(1) <= neighbors)
    return (chosen[nearest] & keep).sum().item() / keep.sum().item()
