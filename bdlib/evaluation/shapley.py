"""What each part of an image adds to a class's probability: Shapley values of square cells."""

from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from bdlib import ranges
from bdlib.checks import ParameterError, checked
from bdlib.data.images import ImageSet
from bdlib.models import evaluation_mode
from bdlib.types import Images

Credits = Float[Tensor, "n g g"]


@checked
def superpixel_shapley(
    model: nn.Module,
    images: ImageSet,
    *,
    target: Annotated[int, Field(ge=0)],
    cells: Annotated[int, Field(ge=2, le=64)] = 7,
    orders: Annotated[int, Field(ge=1, le=10_000)] = 16,
    seed: ranges.Seed = 0,
) -> Credits:
    """The credit of each of `cells` times `cells` squares for the probability of class `target`, per image.

    A cell's credit is what the probability gains when it is added to those before it, on a black image, as the mean
    over `orders` random orders of all cells. The credits of an image sum to what the whole image gains over black.
    Shapley values by sampling (Castro et al. 2009), computed by captum; torch's own random state is left alone.

    Raises ParameterError for images that do not divide into so many cells.

    Example: `superpixel_shapley(victim, triggered[:8], target=0)[:, -1, -1]` is the credit of the lower right cell.
    """
    from captum.attr import ShapleyValueSampling

    regions = cell_map(tuple(images.images.shape[2:]), cells).to(images.images.device)
    pixels = images.images.float() / 255

    def probability(shown: Images) -> Float[Tensor, " n"]:
        return model(shown).softmax(1)[:, target]

    with evaluation_mode(model), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)  # which is put back when the block ends
        mask = regions.repeat(1, pixels.shape[1], 1, 1)  # a cell has all its channels
        credit = ShapleyValueSampling(probability).attribute(pixels, baselines=0.0, feature_mask=mask, n_samples=orders)
    step = pixels.shape[2] // cells, pixels.shape[3] // cells
    return credit[:, 0, :: step[0], :: step[1]]  # every pixel of a cell holds the cell's credit


def cell_map(size: tuple[int, ...], cells: int) -> Int[Tensor, "h w"]:
    """The number of the cell that each pixel belongs to, row by row."""
    height, width = size
    if height % cells or width % cells:
        raise ParameterError(f"cells={cells}: must divide the images' {height} x {width} pixels")
    rows, columns = torch.arange(height) // (height // cells), torch.arange(width) // (width // cells)
    return rows[:, None] * cells + columns[None, :]


@checked
def credit_inside(credits_: Credits, touched: Bool[Tensor, "g g"]) -> Float[Tensor, " n"]:
    """The share of an image's credit, sizes summed, that its `touched` cells have; 0 where there is no credit."""
    sizes = credits_.abs()
    return sizes[:, touched].sum(1) / sizes.sum((1, 2)).clamp(min=1e-30)
