"""Which class is taken for which."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bdlib.checks import ParameterError, checked
from bdlib.data.images import ImageSet
from bdlib.models import predict
from bdlib.types import Labels


@checked
def confusion_matrix(model: nn.Module, images: ImageSet, *, classes: int) -> Float[Tensor, "k k"]:
    """Row y, column p: the share of the images labeled y that `model` takes for p. A class without images has zeros.

    Give triggered images with their true labels, as `attacked_set` does: then the column of the target class is the
    attack, and the diagonal the robust accuracy. Computed by scikit-learn.

    Example: `confusion_matrix(model, attacked.triggered, classes=10)[:, target_label]`
    """
    return confusion_of(images.labels, predict(model, images), classes=classes)


@checked
def confusion_of(labels: Labels, guesses: Labels, *, classes: int) -> Float[Tensor, "k k"]:
    """As `confusion_matrix`, of guesses that are known. Raises ParameterError for labels that are no class."""
    from sklearn.metrics import confusion_matrix as counts

    if len(labels) and int(torch.max(labels.max(), guesses.max())) >= classes:
        raise ParameterError(f"classes={classes}: must be above every label")
    found = counts(labels.cpu().numpy(), guesses.cpu().numpy(), labels=list(range(classes)))
    table = torch.from_numpy(found).double()
    return table / table.sum(1, keepdim=True).clamp(min=1)
