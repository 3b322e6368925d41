"""What the page on re-activation adds to the board: how much of the backdoor is left in a repair, and what wakes it."""

from collections.abc import Mapping
from typing import Any

from bdlib.experiments import notebooks
from bdlib.experiments.records import Record

PAGE = "reactivation"
PROBES = ("existence", "woken", "excess", "retuned")  # of its records' `measured`; shares, but for the coefficient
AUDIT = ("epsilon", "waking_images", "waking_steps", "rule", "poisons", "retuning_images", "retuning_epochs",
         "retuning_rate")  # fmt: skip


def probed(record: Record, profile: str) -> dict[str, float]:
    """What a record measured of `PROBES`; nothing where it is of another page, or its probes were not the usual ones.

    Example: `probed(record, "quick")` is {"existence": 0.4, "woken": 0.06, "excess": 0.01, "retuned": 0.03}.
    """
    if record.paper != PAGE or record.parameters["attack"] == "none":
        return {}
    usual = notebooks.parameters(PAGE, profile)
    if any(record.parameters[name] != usual[name] for name in AUDIT):
        return {}
    return {name: record.measured[name] for name in PROBES if name in record.measured}


def mean_probes(by_seed: Mapping[int, Mapping[str, float]]) -> dict[str, Any]:
    """The means over seeds; a probe that no seed has is left out."""
    means: dict[str, Any] = {}
    for name in PROBES:
        values = [found[name] for found in by_seed.values() if name in found]
        means |= {name: sum(values) / len(values)} if values else {}
    return means
