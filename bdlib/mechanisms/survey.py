"""What the first stage of a combination did, which no defender can see: how much of the poison a filter took."""

from bdlib.attacks.poisoning import Poisoned
from bdlib.checks import checked
from bdlib.data.images import ImageSet
from bdlib.evaluation.detection import rate_after, rates
from bdlib.types import EventLog

NUMBERS_VERSION = 1  # raise it when a change here changes numbers


@checked
def survey(clean: ImageSet, truth: Poisoned, events: EventLog) -> dict[str, float]:
    """Of the filter that `events` watched: `filter_tpr` and `filter_fpr`, shares of poisoned and clean images taken.

    `kept` is the share of all images that is left, `rate_kept` the share of poisoned images among those. Empty where
    nothing was filtered or nothing is poisoned. `clean` is what the defender reserved; `truth` has the rest.
    """
    if "flagged" not in events or not truth.is_poisoned.any():
        return {}
    found = rates(events["flagged"], truth.is_poisoned)
    before = truth.is_poisoned.double().mean().item()
    return {"filter_tpr": found["tpr"], "filter_fpr": found["fpr"], "kept": 1 - found["flagged_share"],
            "rate_kept": rate_after(before, tpr=found["tpr"], fpr=found["fpr"])}  # fmt: skip
