"""Every defence, by its key. The same key names its test, and for a paper's method its notebook and records.

Post-training defences take `(model, clean, *, ..., seed)` and return a new model in evaluation mode. They never
change what they are given, and their signatures admit no trigger, target label, poison flags or test data.
"""

from collections.abc import Callable

from torch import nn

from bdlib.defenses.fine_tune import fine_tune
from bdlib.defenses.nad import nad
from bdlib.defenses.npd import npd

DEFENSES: dict[str, Callable[..., nn.Module]] = {
    # baselines
    "fine_tune": fine_tune,
    # papers
    "nad": nad,
    "npd": npd,
}
