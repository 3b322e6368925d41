"""Other detectors of training images, on the images on which VDC is measured. Part of `bdlib.mechanisms.vdc`.

They look at images through a network that was trained on the dirty set; VDC needs none. STRIP also needs clean images.
"""

from collections.abc import Sequence
from hashlib import sha256
from math import isfinite
from typing import Any, Literal

import torch
from jaxtyping import Bool
from torch import Generator, Tensor, nn

from bdlib.attacks.poisoning import Poisoned
from bdlib.data.images import ImageSet
from bdlib.defenses.detectors import DETECTORS, Detection
from bdlib.evaluation.detection import auroc, found_at
from bdlib.mechanisms.vdc_noise import noisy_sets, sample
from bdlib.models import share
from bdlib.training.loop import Schedule
from bdlib.training.loop import train as fit
from bdlib.types import MakeModel

Detector = Literal["vdc", "spectral_signatures", "activation_clustering", "confident_learning", "strip"]
SETTINGS: dict[str, dict[str, Any]] = {  # the detectors' own defaults, but for a quarter of STRIP's passes
    "strip": {"overlays": 25, "calibration_images": 500},
}
TRUSTED = 0.04  # share of the training set that STRIP's defender knows to be clean: the paper's
LEVELS = (1, 5, 10)  # per cent of clean images flagged, at which the order alone is scored
_TRAINED: dict[bytes, nn.Module] = {}  # networks of this process by what they were trained on: detectors share them


def beside(
    detector: Detector, model: nn.Module, make_model: MakeModel, train: ImageSet, truth: Poisoned,
    class_names: Sequence[str], schedule: Schedule, *, noise_rate: float, looked_at: int, seed: int,
) -> dict[str, float]:  # fmt: skip
    """TPR and FPR of a detector, by its own threshold, on the images that VDC is asked about.

    A filter looks at the whole poisoned set through the victim `model`, and is scored on those images. STRIP is asked
    about them as queries; its clean images are `TRUSTED` of `train`, none of them poisoned or asked about. `auroc` and
    `found_at_<level>`, the TPR at the best threshold that flags at most `level` per cent of the clean images, need no
    threshold of the detector. `symmetric_tpr` and so on, for filters where `noise_rate` is not 0, are with the wrong
    labels that VDC is shown, through networks that are trained on them by `schedule`. `asked` counts the images.
    """
    ids = sample(truth.is_poisoned.cpu(), looked_at, seed=seed)
    dirty = truth.is_poisoned.cpu()[ids]
    if detector == "strip":
        clean = trusted(train, truth, ids, seed=seed)
        found = DETECTORS["strip"](model, clean, truth.data.images[ids], seed=seed, **SETTINGS["strip"])
    else:
        found = filtered(detector, model, truth.data, ids, seed=seed)
    measured = {"asked": float(len(ids))} | scores(found, dirty)
    if detector != "strip" and noise_rate:
        asked = Poisoned(truth.data[ids], truth.is_poisoned[ids])
        around = noisy_sets(train, truth, class_names, noise_rate, seed)
        for name, (shown, wrong) in noisy_sets(train[ids], asked, class_names, noise_rate, seed).items():
            labels = around[name][0].labels.clone()
            labels[ids] = shown.labels
            data = ImageSet(around[name][0].images, labels)
            rates = scores(filtered(detector, trained(make_model, data, schedule), data, ids, seed=seed), wrong)
            measured |= {f"{name}_{rate}": rates[rate] for rate in ("tpr", "fpr")}
    return {name: value for name, value in measured.items() if isfinite(value)}


def filtered(detector: str, model: nn.Module, data: ImageSet, ids: Tensor, *, seed: int) -> Detection:
    """What a filter says of the images `ids` when it is shown all of `data` with the given labels."""
    own = {"seed": seed} if detector == "activation_clustering" else {}
    suspicion, flagged = DETECTORS[detector](model, data, **own)
    return Detection(suspicion[ids], flagged[ids])


def trusted(train: ImageSet, truth: Poisoned, ids: Tensor, *, seed: int) -> ImageSet:
    """The clean images of a defender: `TRUSTED` of the set, drawn from those not poisoned and not asked about.

    Where all images are asked about, from all that are not poisoned.
    """
    free, unasked = ~truth.is_poisoned.cpu(), torch.ones(len(train), dtype=torch.bool)
    unasked[ids] = False
    pool = (free & unasked if unasked.any() else free).nonzero().squeeze(1)
    order = torch.randperm(len(pool), generator=Generator().manual_seed(seed))
    return train[pool[order[: max(1, round(TRUSTED * len(train)))]]]


def trained(make_model: MakeModel, data: ImageSet, schedule: Schedule) -> nn.Module:
    """A network trained on `data`, once in a process for the same data, schedule and initial weights."""
    start = make_model()
    known = sha256(repr(schedule).encode())
    for tensor in (data.images, data.labels, *start.state_dict().values()):
        known.update(tensor.cpu().contiguous().numpy().tobytes())
    key = known.digest()
    if key not in _TRAINED:
        _TRAINED[key] = fit(start, data, schedule)
    return _TRAINED[key]


def scores(found: Detection, positive: Bool[Tensor, " n"]) -> dict[str, float]:
    """What a decision and an order are worth. Positives are the dirty images; nan where there are none of a kind."""
    suspicion, flagged = found.suspicion.cpu(), found.flagged.cpu()
    measured = {"tpr": share(flagged[positive]), "fpr": share(flagged[~positive]),
                "missed": float((positive & ~flagged).sum())}  # fmt: skip
    if positive.any() and not positive.all():
        measured["auroc"] = auroc(suspicion, positive)
        measured |= {
            f"found_at_{level}": found_at(suspicion, positive, false_positive_rate=level / 100) for level in LEVELS
        }
    return measured
