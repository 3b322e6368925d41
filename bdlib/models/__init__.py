"""Networks, their layers by name, and their predictions."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from bdlib.data.images import ImageSet, batches
from bdlib.models.layers import default_layers, find_layer, readout_of, tap
from bdlib.models.networks import (
    MODELS,
    Normalize,
    initialize,
    preact_resnet18,
    resnet18,
    seeded,
    small_resnet,
    vgg19_bn,
    wrn_16_1,
)
from bdlib.types import Labels

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
    "resnet18",
    "sample_losses",
    "seeded",
    "share",
    "small_resnet",
    "tap",
    "vgg19_bn",
    "wrn_16_1",
]

NUMBERS_VERSION = 1  # raise it when a change in this folder changes numbers


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Inside the block `model` is in evaluation mode; afterwards it has the mode that it had before."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@torch.inference_mode()
def predict(model: nn.Module, data: ImageSet, *, batch_size: int = 500) -> Labels:
    """The predicted class of every image, `batch_size` images at a time; `model` is in evaluation mode meanwhile."""
    with evaluation_mode(model):
        return torch.cat([model(batch.images).argmax(1) for batch in batches(data, batch_size)])


@torch.no_grad()
def sample_losses(model: nn.Module, data: ImageSet, *, batch_size: int = 500) -> Float[Tensor, " n"]:
    """The cross-entropy of every image with its label, in nats, in the order of `data`; in evaluation mode."""
    with evaluation_mode(model):
        losses = [F.cross_entropy(model(b.images), b.labels, reduction="none") for b in batches(data, batch_size)]
    return torch.cat(losses)


def share(hits: Tensor) -> float:
    """The share of true values, in double precision; nan when there are none to count."""
    return hits.double().mean().item()


def accuracy(model: nn.Module, data: ImageSet) -> float:
    """The share of `data` that the model classifies as labeled, in [0, 1]."""
    return share(predict(model, data) == data.labels)
