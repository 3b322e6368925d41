"""What each paper says happens inside a model, as numbers: the evidence beside the scores.

`MECHANISMS[key](model, defended, clean, test, trigger, events, *, target_label, ...)` returns named floats, which go
into the record's `measured`; claims about the mechanism rest on them. `events` is the `EventLog` of the run: what the
defense told on its way is read from it, not computed again. Measures see the trigger and the test data; no defense may
import them. Keywords are the notebook's parameters, by name.
"""

from collections.abc import Callable

from bdlib.mechanisms import abl, ar, attacks, ft_sam, lps, npd, nwc, pdb, rnp, sau

MECHANISMS: dict[str, Callable[..., dict[str, float]]] = {
    "rnp": rnp.rnp,
    "ar": ar.ar,
    "nwc": nwc.nwc,
    "sau": sau.sau,
    "npd": npd.npd,
    "ft_sam": ft_sam.ft_sam,
    "pdb": pdb.pdb,
    "lps": lps.lps,
    "abl": abl.abl,
    "attacks": attacks.attacks,  # of no defence: what the page about attacks measures
}
