"""What STRIP says happens at inference: predictions of triggered queries vary less, so that they can be refused.

Half of the queries are clean test images, half the same images with the trigger where the attack changes their label.
"""

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from bdlib import ranges
from bdlib.checks import checked
from bdlib.data.images import ImageSet, sample
from bdlib.defenses.detectors.strip import Blend
from bdlib.defenses.detectors.strip import strip as detect
from bdlib.evaluation.apply_trigger import AllToOne, TargetLabel, attacked_set
from bdlib.evaluation.detection import auroc, found_at, rates
from bdlib.models import predict, share
from bdlib.types import EventLog, Trigger

NUMBERS_VERSION = 1  # raise it when a change here or in the detector changes numbers


@checked
def strip(
    model: nn.Module,
    clean: ImageSet,
    test: ImageSet,
    trigger: Trigger,
    events: EventLog,
    *,
    overlays: Annotated[int, Field(ge=1, le=10_000)] = 100,
    blend: Blend = "add",
    false_rejection_rate: ranges.Fraction = 0.01,
    calibration_images: Annotated[int, Field(ge=1, le=100_000)] = 2000,
    query_images: Annotated[
        int, Field(ge=1, le=100_000)
    ] = 500,  # clean test images asked about; about as many triggered
    target_label: TargetLabel,
    seed: ranges.Seed = 0,
) -> dict[str, float]:
    """How STRIP tells triggered queries from clean ones; of a model without a backdoor, only what needs no trigger.

    `fpr` is the share of clean queries that it refuses by its own threshold, `tpr` that of triggered ones, `tpr_hits`
    that of triggered ones that get the attacker's label. `auroc` and `found_at_1` (per cent of clean queries refused)
    need no threshold. `asr_served` and `accuracy_served` are ASR and ACC where a refused query counts as a failed
    attack, and as an error. Entropies are means, in nats. `passes_per_query` are through the network. `events` is told
    "clean" and "triggered", the suspicion of these queries, and what the detector tells.
    """
    some = sample(test, query_images)
    asked: dict[str, Any] = {"overlays": overlays, "blend": blend, "false_rejection_rate": false_rejection_rate,
             "calibration_images": calibration_images, "seed": seed, "on_event": events}  # fmt: skip
    attacked = attacked_set(some, trigger, AllToOne(target_label))
    is_twin = torch.equal(attacked.triggered.images, attacked.clean.images)
    queries = some.images if is_twin else torch.cat([some.images, attacked.triggered.images])
    detection = detect(model, clean, queries, **asked)
    refused, suspicion, first = detection.flagged, detection.suspicion, len(some)
    events("clean", suspicion[:first])
    events("triggered", suspicion[first:])
    right = predict(model, some) == some.labels
    measured = {
        "fpr": share(refused[:first]),
        "accuracy_served": share(right & ~refused[:first]),
        "clean_entropy": -suspicion[:first].mean().item(),
        "threshold": events["threshold"],
        "passes_per_query": float(overlays),
    }
    if is_twin:
        return measured
    is_triggered = torch.arange(len(queries), device=suspicion.device) >= first
    hits = predict(model, attacked.triggered) == attacked.wanted
    found = {
        f"found_at_{level}": found_at(suspicion, is_triggered, false_positive_rate=level / 100) for level in (1, 5)
    }
    measured |= {"auroc": auroc(suspicion, is_triggered), "tpr": rates(refused, is_triggered)["tpr"], **found}
    measured |= {"asr_served": share(hits & ~refused[first:]),
                 "triggered_entropy": -suspicion[first:].mean().item()}  # fmt: skip
    return measured | ({"tpr_hits": share(refused[first:][hits])} if hits.any() else {})
