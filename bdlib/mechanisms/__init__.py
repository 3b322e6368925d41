"""What each paper says happens inside a model, as numbers: the evidence beside the scores.

`MECHANISMS[key](model, defended, clean, test, trigger, *, target_label, ...)` returns named floats, which go into the
record's `measured` and are what claims about the mechanism rest on. They call the same stages as the defence. They
see the trigger and the test data; no defence may import them. Keywords are the notebook's parameters, by name.
"""

from collections.abc import Callable

from bdlib.mechanisms.abl import abl
from bdlib.mechanisms.ar import ar
from bdlib.mechanisms.attacks import attacks
from bdlib.mechanisms.ft_sam import ft_sam
from bdlib.mechanisms.lps import lps
from bdlib.mechanisms.npd import npd
from bdlib.mechanisms.nwc import nwc
from bdlib.mechanisms.pdb import pdb
from bdlib.mechanisms.rnp import rnp
from bdlib.mechanisms.sau import sau

MECHANISMS: dict[str, Callable[..., dict[str, float]]] = {
    "rnp": rnp,
    "ar": ar,
    "nwc": nwc,
    "sau": sau,
    "npd": npd,
    "ft_sam": ft_sam,
    "pdb": pdb,
    "lps": lps,
    "abl": abl,
    "attacks": attacks,  # of no defence: what the page about attacks measures
}
