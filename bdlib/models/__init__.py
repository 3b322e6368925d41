"""Networks, their layers by name, and their predictions."""

import torch
from torch import Tensor, nn

from bdlib.data.images import ImageSet, batches
from bdlib.models.layers import default_layers, find_layer, tap
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
    "find_layer",
    "initialize",
    "preact_resnet18",
    "predict",
    "resnet18",
    "seeded",
    "share",
    "small_resnet",
    "tap",
    "vgg19_bn",
    "wrn_16_1",
]

NUMBERS_VERSION = 1  # raise it when a change in this folder changes numbers


@torch.inference_mode()
def predict(model: nn.Module, data: ImageSet, *, batch_size: int = 500) -> Labels:
    """The predicted class of every image, `batch_size` images at a time; `model` is in evaluation mode meanwhile."""
    was_training = model.training
    model.eval()
    guesses = torch.cat([model(batch.images).argmax(1) for batch in batches(data, batch_size)])
    model.train(was_training)
    return guesses


def share(hits: Tensor) -> float:
    """The share of true values, in double precision; nan when there are none to count."""
    return hits.double().mean().item()


def accuracy(model: nn.Module, data: ImageSet) -> float:
    """The share of `data` that the model classifies as labeled, in [0, 1]."""
    return share(predict(model, data) == data.labels)
