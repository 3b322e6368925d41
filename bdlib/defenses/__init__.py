"""Every defense, by its key. The same key names its module and test, and for a paper's method its notebook and records.

Post-training defenses take `(model, clean, *, ..., seed)`, and one that needs no images and draws nothing takes
`(model, *, ...)`. In-training defenses take `(make_model, poisoned, *, ...,
seed)`, with `clean` after `poisoned` if they reserve benign images. A cleanser of data takes `class_names` and an
`answerer` there, who looks at images, and trains on what it keeps. One of several stages takes `(model, make_model,
poisoned, clean, *, ..., seed)`. All return a new model in evaluation mode and never
change their arguments. No signature has a place for trigger, target label, poison flags or test data.

Example::

    repaired = DEFENSES["nad"](victim, clean, seed=1)
"""

from collections.abc import Callable

from torch import nn

from bdlib.defenses import (
    abl,
    activation_clustering,
    anp,
    ar,
    clp,
    fine_prune,
    fine_tune,
    ft_sam,
    i_bau,
    nad,
    neural_cleanse,
    npd,
    nwc,
    pdb,
    rnp,
    sau,
    spectral_signatures,
    staged,
    vdc,
)

DEFENSES: dict[str, Callable[..., nn.Module]] = {
    # baselines
    "fine_tune": fine_tune.fine_tune,
    "fine_prune": fine_prune.fine_prune,
    "anp": anp.anp,
    "clp": clp.clp,
    "i_bau": i_bau.i_bau,
    "neural_cleanse": neural_cleanse.neural_cleanse,
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
    "vdc": vdc.vdc,
    # a filter of training images, and training on the rest
    "spectral_signatures": spectral_signatures.spectral_signatures,
    "activation_clustering": activation_clustering.activation_clustering,
    # several stages, one after the other
    "staged": staged.staged,
}
