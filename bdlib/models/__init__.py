"""Networks, their layers by name, and their predictions."""

from importlib import import_module
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from bdlib.checks import checked
from bdlib.data.fit import evaluation_mode, require_rows
from bdlib.data.images import ImageSet, batches
from bdlib.models.layers import default_layers, find_layer, readout_of, require_convolution, require_maps, tap
from bdlib.models.networks import (
    MODELS,
    Normalize,
    initialize,
    preact_resnet18,
    resnet18,
    seeded,
    small_resnet,
    small_vgg_bn,
    small_vit,
    vgg19_bn,
    wrn_16_1,
)
from bdlib.types import Batch, Labels, Logits

__all__ = [
    "MODELS",
    "Normalize",
    "accuracy",
    "default_layers",
    "evaluation_mode",
    "find_layer",
    "initialize",
    "preact_resnet18",
    "predict",
    "readout_of",
    "require_convolution",
    "require_maps",
    "resnet18",
    "sample_losses",
    "seeded",
    "share",
    "small_resnet",
    "small_vgg_bn",
    "small_vit",
    "tap",
    "vgg19_bn",
    "wrn_16_1",
]

CONTRIBUTED: tuple[str, ...] = (
    # modules of this folder with a function of the same name; `bdlib new network` adds one
)  # CONTRIBUTED
MODELS |= {name: getattr(import_module(f"bdlib.models.{name}"), name) for name in CONTRIBUTED}

NUMBERS_VERSION = 1  # raise it when a change in this folder changes numbers
PassSize = Annotated[int, Field(ge=1)]  # images of one forward pass; it changes no number


@checked
@torch.inference_mode()
def predict(model: nn.Module, data: ImageSet, *, batch_size: PassSize = 500) -> Labels:
    """The predicted class of every image, `batch_size` images at a time; `model` is in evaluation mode meanwhile.

    Raises ParameterError for a set without images, and for a network that does not fit them or gives no logits.
    """
    with evaluation_mode(model):
        return torch.cat([_logits(model, batch).argmax(1) for batch in batches(data, batch_size)])


@checked
@torch.no_grad()
def sample_losses(model: nn.Module, data: ImageSet, *, batch_size: PassSize = 500) -> Float[Tensor, " n"]:
    """The cross-entropy of every image with its label, in nats, in the order of `data`; in evaluation mode."""
    with evaluation_mode(model):
        losses = [F.cross_entropy(_logits(model, b), b.labels, reduction="none") for b in batches(data, batch_size)]
    return torch.cat(losses)


def _logits(model: nn.Module, batch: Batch) -> Logits:
    return require_rows(model(batch.images), len(batch.labels))


def share(hits: Tensor) -> float:
    """The share of true values, in double precision; nan when there are none to count."""
    return hits.double().mean().item()


def accuracy(model: nn.Module, data: ImageSet) -> float:
    """The share of `data` that the model classifies as labeled, in [0, 1]."""
    return share(predict(model, data) == data.labels)
