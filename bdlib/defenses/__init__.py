"""Every defence, by its key. The same key names its test, and for a paper's method its notebook and records.

Post-training defences take `(model, clean, *, ..., seed)`, in-training defences `(make_model, poisoned, *, ..., seed)`,
with `clean` behind `poisoned` where they keep benign images back. All return a new model in evaluation mode, never
change what they are given, and their signatures admit no trigger, target label, poison flags or test data.
"""

from collections.abc import Callable

from torch import nn

from bdlib.defenses.abl import abl
from bdlib.defenses.anp import anp
from bdlib.defenses.ar import ar
from bdlib.defenses.fine_prune import fine_prune
from bdlib.defenses.fine_tune import fine_tune
from bdlib.defenses.ft_sam import ft_sam
from bdlib.defenses.nad import nad
from bdlib.defenses.npd import npd
from bdlib.defenses.nwc import nwc
from bdlib.defenses.pdb import pdb
from bdlib.defenses.rnp import rnp
from bdlib.defenses.sau import sau

DEFENSES: dict[str, Callable[..., nn.Module]] = {
    # baselines
    "fine_tune": fine_tune,
    "fine_prune": fine_prune,
    "anp": anp,
    # papers
    "nad": nad,
    "rnp": rnp,
    "ar": ar,
    "nwc": nwc,
    "sau": sau,
    "npd": npd,
    "ft_sam": ft_sam,
    "abl": abl,
    "pdb": pdb,
}
