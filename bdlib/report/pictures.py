"""Figures made of images: triggered copies, differences, attention maps."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import apply_trigger
from bdlib.models import predict
from bdlib.types import Images, Trigger

WIDTH = 7.0  # inches, the text column


def image_grid(rows: Mapping[str, Images], *, columns: Sequence[str] = (), diverging: Sequence[str] = ()) -> Figure:
    """One row of images for each entry, named at its left; `columns` head them.

    Rows named in `diverging` hold differences in [-1, 1], drawn blue to red around white.
    """
    figure, axes = _grid(len(rows), len(next(iter(rows.values()))), columns)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for ax, image in zip(line, images.detach().cpu(), strict=True):
            if name in diverging:
                ax.imshow(image.mean(0).numpy(), cmap="RdBu_r", vmin=-1, vmax=1)
            else:
                _draw_image(ax, image)
        _name_row(line[0], name)
    return figure


def attention_grid(images: Images, maps: Mapping[str, Tensor], *, titles: Sequence[str] = ()) -> Figure:
    """Images in the first row; below, each model's attention on them, shape (n, h, w), scaled to its own peak."""
    figure, axes = _grid(1 + len(maps), len(images), titles)
    for ax, image in zip(axes[0], images.detach().cpu(), strict=True):
        _draw_image(ax, image)
    _name_row(axes[0][0], "image")
    for line, (name, attention) in zip(axes[1:], maps.items(), strict=True):
        for ax, grid in zip(line, attention.detach().cpu(), strict=True):
            ax.imshow((grid / grid.amax()).numpy(), cmap="viridis", vmin=0, vmax=1)
        _name_row(line[0], name)
    return figure


def example_images(test_set: ImageSet, target_label: int, *, count: int = 8) -> ImageSet:
    """The first test image of each class but the target's, of at most `count` classes."""
    others = test_set[test_set.labels != target_label]
    first = [(others.labels == label).nonzero()[0, 0] for label in others.labels.unique()]
    return others[torch.stack(first[:count])]


def eight_images(
    test_set: ImageSet, trigger: Trigger, model: nn.Module, target_label: int, class_names: Sequence[str]
) -> Figure:
    """Eight test images, their triggered copies, and the difference; above each the class that `model` then predicts.

    The images are those of `example_images`: one of each class, none of the target's.

    Example: ``eight_images(test_set, load_trigger(config), backdoored, 0, CLASS_NAMES["fashion"])``.
    """
    clean = example_images(test_set, target_label)
    triggered = ImageSet(apply_trigger(clean.images, trigger), clean.labels)
    rows = {"clean": clean.images / 255, "triggered": triggered.images / 255}
    rows["difference"] = rows["triggered"] - rows["clean"]
    predicted = [class_names[label] for label in predict(model, triggered).tolist()]
    return image_grid(rows, columns=predicted, diverging=["difference"])


def _grid(rows: int, columns: int, titles: Sequence[str]) -> tuple[Figure, list[list[Axes]]]:
    """Axes without ticks or frame, as wide as the text."""
    size = (WIDTH, WIDTH * rows / columns + 0.3)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    for ax, title in zip(axes[0], titles, strict=False):
        ax.set_title(title)
    return figure, axes.tolist()


def _draw_image(ax: Axes, image: Tensor) -> None:
    """A color or gray image, shape (c, h, w), with pixels in [0, 1]."""
    ax.imshow(image.permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)


def _name_row(ax: Axes, name: str) -> None:
    ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
