"""What training asks of a network, checked before its first step."""

from collections.abc import Iterable
from copy import deepcopy

import torch
from torch import Tensor, nn

from bdlib.checks import ParameterError
from bdlib.data.fit import require_rows
from bdlib.data.images import ImageSet
from bdlib.data.passes import uncounted


def trainable(parameters: Iterable[Tensor]) -> list[Tensor]:
    """The parameters as a list. Raises ParameterError where none of them can be trained."""
    tensors = list(parameters)
    if not any(tensor.requires_grad for tensor in tensors):
        words = "; they are frozen: model.requires_grad_(True)" if tensors else ""
        raise ParameterError(f"model: has no weights to train{words}")
    return tensors


@torch.no_grad()
def require_batches(model: nn.Module, data: ImageSet, batch_size: int) -> None:
    """Raise ParameterError unless the network, in training mode, gives logits for batches of the sizes that will come.

    BatchNorm behind a linear layer cannot be trained on a last batch of one image, which has no variance.
    """
    first, last = min(len(data), batch_size), len(data) % batch_size
    for count in {first, last or first}:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())), uncounted():
            try:
                logits = deepcopy(model).train()(data.images[:count].float() / 255)
            except ValueError as error:
                if count > 1:
                    raise
                words = "leaves one image alone in the last batch, which this network cannot be trained on"
                raise ParameterError(f"batch_size={batch_size}: of {len(data)} images {words}; {error}") from error
        require_rows(logits, count)
