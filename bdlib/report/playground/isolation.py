"""The recorded course of ABL's isolation: which images have the lowest loss after each epoch of stage 1.

The book keeps the recording (book/_static/playground/isolation.js), because it takes two trainings of a minute each::

    python -m bdlib.report.playground.isolation
"""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from bdlib.defenses.abl.isolation import isolate
from bdlib.experiments import notebooks
from bdlib.experiments.config import VictimConfig
from bdlib.experiments.parameters import decisive
from bdlib.experiments.run import defend
from bdlib.experiments.versions import versions
from bdlib.experiments.victims import poisoned_set
from bdlib.files import write_whole
from bdlib.folders import ROOT
from bdlib.report.playground.export import encoded, script
from bdlib.types import EventLog

PLACE = ROOT / "book" / "_static" / "playground" / "isolation.js"
ATTACKS = ("badnets", "blended")
EPOCHS = 8  # of stage 1
RATES = tuple(round(0.005 * step, 3) for step in range(1, 41))  # isolated shares of the training images
EDGES = tuple(round(-7 + 0.2 * step, 1) for step in range(41))  # of the histograms, log10 of the loss in nats
SHOWN = 12  # images of lowest loss in the page, after each epoch


def course(attack: str, **changes: Any) -> dict[str, Any]:
    """Stage 1 of ABL against an attack at the quick profile, epoch by epoch; `changes` are parameters of its notebook.

    For each epoch: histograms of the poisoned images' losses and of the others', the number of poisoned images among
    the lowest losses at each of `RATES`, the highest of these losses, and the images of lowest loss. Raises
    ParameterError as the notebook does.

    Example: ``course("badnets", isolation_epochs=2, data_fraction=0.1)``
    """
    asked = {"attack": attack, "isolation_epochs": EPOCHS, "epochs": 0, "unlearning_epochs": 0} | changes
    parameters, events = notebooks.parameters("abl", "quick") | asked, EventLog()
    config = VictimConfig.from_parameters(parameters)
    defend("abl", parameters, config.untrained(), events)
    truth = poisoned_set(config)
    flags, epochs = truth.is_poisoned, [_epoch(losses, truth.is_poisoned) for losses in events["losses"]]
    shown = sorted({number for epoch in epochs for number in epoch["lowest"]})
    for epoch in epochs:
        epoch["lowest"] = [shown.index(number) for number in epoch["lowest"]]
    return {"attack": attack, "images": len(flags), "poisoned": int(flags.sum()), "epochs": epochs,
            "pixels": encoded(truth.data.images[shown]), "is_poisoned": flags[shown].int().tolist(),
            "parameters": decisive(parameters), "versions": versions("abl", parameters)}  # fmt: skip


def _epoch(losses: Tensor, flags: Tensor) -> dict[str, Any]:
    """What the page shows of one epoch."""
    places = losses.clamp_min(10 ** EDGES[0]).log10().clamp_max(EDGES[-1]).cpu().numpy()
    counts = {name: np.histogram(places[kind.cpu().numpy()], EDGES)[0].tolist()
              for name, kind in (("poisoned", flags), ("others", ~flags))}  # fmt: skip
    isolated = [isolate(losses, rate) for rate in RATES]
    return counts | {
        "isolated": [len(ids) for ids in isolated],
        "hits": [int(flags[ids].sum()) for ids in isolated],
        "highest": [round(float(losses[ids[-1]].clamp_min(10 ** EDGES[0]).log10()), 3) for ids in isolated],
        "lowest": isolate(losses, RATES[0])[:SHOWN].tolist(),
    }


def recording(attacks: tuple[str, ...] = ATTACKS, **changes: Any) -> dict[str, Any]:
    """The courses against several attacks, with the axes that they share."""
    side = VictimConfig().facts.size
    return {"rates": RATES, "edges": EDGES, "side": side, "courses": [course(attack, **changes) for attack in attacks]}


def write_recording(place: Path = PLACE) -> Path:
    """Record the courses anew and write them where the book has them."""
    return write_whole(place, script("isolation", recording()))


if __name__ == "__main__":
    print(write_recording())
