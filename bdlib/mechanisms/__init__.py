"""What each paper says happens inside a model, as numbers: the evidence beside the scores.

`MECHANISMS[key](model, defended, clean, test, trigger, *, target_label, ...)` returns floats by name. They go into the
record's `measured`, and claims about the mechanism are judged by them. A measure that has an argument `events` gets the
`EventLog` of the defense's run, and reads from it what the defense has made; the others call the defense's stages. They
see the trigger and the test data, so no defense may import them. Keywords are the notebook's parameters, by name.
"""

from collections.abc import Callable

from bdlib.mechanisms import (
    abl,
    ar,
    attacks,
    ft_sam,
    lps,
    npd,
    nwc,
    pdb,
    reactivation,
    rnp,
    sau,
    strip,
    survey,
    vdc,
    workshop,
)

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
    "vdc": vdc.vdc,
    "strip": strip.strip,
    "survey": survey.survey,  # of the combination of stages
    "workshop": workshop.workshop,  # of a victim, its repair and the clean twin: what the tools show
    "reactivation": reactivation.reactivation,  # of a repair: what wakes the backdoor
    "attacks": attacks.attacks,  # of no defence: what the page about attacks measures
}
