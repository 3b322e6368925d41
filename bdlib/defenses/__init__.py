"""Every defence, by its key. The same key names its test, and for a paper's method its notebook and records.

Post-training defences take `(model, clean, *, ..., seed)`, in-training defences `(make_model, poisoned, *, ..., seed)`,
with `clean` behind `poisoned` where they keep benign images back. All return a new model in evaluation mode, never
change what they are given, and their signatures admit no trigger, target label, poison flags or test data.
"""

from collections.abc import Callable

from torch import nn

from bdlib.defenses import (
    abl,
    anp,
    ar,
    fine_prune,
    fine_tune,
    ft_sam,
    nad,
    npd,
    nwc,
    pdb,
    rnp,
    sau,
)

DEFENSES: dict[str, Callable[..., nn.Module]] = {
    # baselines
    "fine_tune": fine_tune.fine_tune,
    "fine_prune": fine_prune.fine_prune,
    "anp": anp.anp,
    # papers
    "nad": nad.nad,
    "rnp": rnp.rnp,
    "ar": ar.ar,
    "nwc": nwc.nwc,
    "sau": sau.sau,
    "npd": npd.npd,
    "ft_sam": ft_sam.ft_sam,
    "abl": abl.abl,
    "pdb": pdb.pdb,
}
