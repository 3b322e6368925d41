"""Who judges in a run of a data cleanser, and who answers. The oracle is made here: it needs the true labels."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from bdlib.checks import ParameterError
from bdlib.data.datasets import CLASS_NAMES, DATASETS
from bdlib.data.images import ImageSet
from bdlib.defenses.vdc.answerers.oracle import OracleAnswerer
from bdlib.defenses.vdc.answerers.protocol import Answerer
from bdlib.defenses.vdc.answerers.recognizer import RecognizerAnswerer
from bdlib.defenses.vdc.questions import shipped


def check_answerer(parameters: Mapping[str, Any]) -> None:
    """Raise ParameterError where the image recogniser has no words for the classes of the data set."""
    if parameters.get("answered_by") != "recognizer":
        return
    dataset = parameters["dataset"]
    unknown = [name for name in CLASS_NAMES[dataset] if "imagenet" not in shipped().get(name, {})]
    if unknown or DATASETS[dataset].channels != 3:
        raise ParameterError(f"answered_by='recognizer': must be oracle for {dataset}, which the recogniser cannot see")


def check_detector(parameters: Mapping[str, Any]) -> None:
    """Raise ParameterError where another detector than VDC is to be measured in a run that cleanses with VDC."""
    detector, defense = parameters.get("detector", "vdc"), parameters.get("defense")
    if detector != "vdc" and defense != "none":
        raise ParameterError(f"detector={detector!r}: must be vdc where defense={defense!r}; nothing retrains on it")


def answerer_of(parameters: Mapping[str, Any], train: ImageSet, poisoned: ImageSet) -> Answerer:
    """The answerer that `parameters` name. `poisoned` has the images of `train` in the same order.

    Example: `answerer_of({"answered_by": "recognizer", "dataset": "cifar10"}, train, poisoned)`
    """
    check_answerer(parameters)
    if parameters["answered_by"] == "recognizer":
        return _recognizer()
    both = ImageSet(torch.cat([train.images, poisoned.images]), train.labels.repeat(2))
    names = CLASS_NAMES[parameters["dataset"]]
    return OracleAnswerer(both, names, error=parameters["answer_error"], seed=parameters["seed"])


@cache
def _recognizer() -> RecognizerAnswerer:
    """One for all runs of this process."""
    return RecognizerAnswerer()
