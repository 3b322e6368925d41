"""How well VDC tells dirty images from clean ones: what only a holder of the true labels can measure."""

from functools import reduce
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Bool
from pydantic import Field
from scipy.stats import binom
from torch import Tensor, nn

from bdlib import ranges
from bdlib.attacks.poisoning import Poisoned
from bdlib.checks import checked
from bdlib.data.images import ImageSet
from bdlib.defenses.vdc.answerers.protocol import Answerer
from bdlib.defenses.vdc.method import Agreement, cross_examine, dirty
from bdlib.defenses.vdc.questions import GENERAL, Chosen
from bdlib.mechanisms.vdc_beside import Detector, beside
from bdlib.mechanisms.vdc_noise import noisy_sets, sample
from bdlib.models import share
from bdlib.runtime import AddedAt
from bdlib.training.loop import Schedule
from bdlib.types import EventLog, MakeModel

NUMBERS_VERSION = 1  # raise it when a change here, in `vdc_beside` or in `vdc_noise` changes numbers


@checked
def vdc(
    model: nn.Module,
    make_model: MakeModel,
    train: ImageSet,
    truth: Poisoned,
    class_names: tuple[str, ...],
    answerer: Answerer,
    events: EventLog,
    *,
    detector: Annotated[Detector, AddedAt("vdc")] = "vdc",
    answered_by: Literal["oracle", "recognizer"],
    answer_error: ranges.Fraction,
    noise_rate: ranges.Fraction,
    looked_at: Annotated[int, Field(ge=20, le=10**6)],
    questions: Chosen = "both",
    threshold: ranges.Fraction = 0.5,
    epochs: ranges.CountOrZero = 100,  # as the method's own, these five
    learning_rate: ranges.LearningRate = 0.1,
    anneal: Literal["constant", "cosine", "one_cycle"] = "cosine",
    batch_size: ranges.BatchSize = 128,
    augmentation: ranges.Augmentation = 4,
    seed: ranges.Seed = 0,
) -> dict[str, float]:
    """TPR and FPR, in [0, 1], of the run that `events` watched, and of the same answerer under label noise.

    Where no run was watched, nothing was retrained: then about `looked_at` images are asked about, of which 9 % are
    poisoned (`bdlib.mechanisms.vdc_noise.sample`). A verdict depends on no other image, so these are the same rates.
    Another `detector` than VDC is measured on these images too, through the victim `model`, as `beside` says; networks
    for label noise are trained by the schedule from `epochs` to `augmentation`.

    Positives are the poisoned images; for a clean-label attack their labels are right, and `mislabeled` is 0. `tpr_<k>`
    and `fpr_<k>` are at the threshold of `k` agreeing answers, `general_tpr` and so on with one kind of question.
    `recognized` is the share of clean images that the first general answer names. `symmetric_tpr` and so on are with
    `noise_rate` of the labels wrong: at random, confused with a similar class, or, `hybrid`, at random beside the
    poison. `asked` counts the images.
    """
    if detector != "vdc":
        schedule = Schedule(epochs, learning_rate, anneal, batch_size=batch_size, augmentation=augmentation, seed=seed)
        return beside(detector, model, make_model, train, truth, class_names, schedule,
                      noise_rate=noise_rate, looked_at=looked_at, seed=seed)  # fmt: skip
    if "agreement" not in events:
        ids = sample(truth.is_poisoned.cpu(), looked_at, seed=seed)
        train, truth = train[ids], Poisoned(truth.data[ids], truth.is_poisoned[ids])
    agreement = events.get("agreement")
    if agreement is None:
        agreement = cross_examine(truth.data, class_names, answerer, questions=questions)
    poison = truth.is_poisoned.cpu()
    measured: dict[str, float] = {"asked": float(len(poison))}
    measured |= sweep(agreement, poison) | detection(agreement, poison, threshold=threshold)
    measured["mislabeled"] = share((truth.data.labels != train.labels).cpu()[poison])
    if questions == "both":
        for kind, part in {"general": agreement[:, : len(GENERAL)], "specific": agreement[:, len(GENERAL) :]}.items():
            rates = detection(part, poison, threshold=threshold)
            measured |= {f"{kind}_{name}": rates[name] for name in ("tpr", "fpr")}
    if questions != "specific":
        measured["recognized"] = share(agreement[~poison, 0])
    if answered_by == "oracle" and measured["mislabeled"] == 1:
        counts = kinds(questions)
        expected = expected_rates(answer_error, *counts, classes=len(class_names), threshold=threshold)
        measured |= dict(zip(("expected_tpr", "expected_fpr"), expected, strict=True))
    for name, (data, wrong) in noisy_sets(train, truth, class_names, noise_rate, seed).items() if noise_rate else ():
        found = cross_examine(data, class_names, answerer, questions=questions)
        rates = detection(found, wrong, threshold=threshold)
        measured |= {f"{name}_{rate}": rates[rate] for rate in ("tpr", "fpr")}
    return {name: value for name, value in measured.items() if np.isfinite(value)}


def detection(agreement: Agreement, positive: Bool[Tensor, " n"], *, threshold: float) -> dict[str, float]:
    """TPR = TP / (TP + FN), FPR = FP / (FP + TN), the number of positives missed, and the share of exact ties."""
    flagged, ties = dirty(agreement, threshold=threshold), agreement.sum(1) * 2 == agreement.shape[1]
    return {"tpr": share(flagged[positive]), "fpr": share(flagged[~positive]), "ties": share(ties),
            "missed": float((positive & ~flagged).sum())}  # fmt: skip


def sweep(agreement: Agreement, positive: Bool[Tensor, " n"]) -> dict[str, float]:
    """TPR and FPR where at most k agreeing answers make an image dirty, for every k."""
    count, measured = agreement.shape[1], dict[str, float]()
    for k in range(count + 1):
        rates = detection(agreement, positive, threshold=k / count)
        measured |= {f"tpr_{k}": rates["tpr"], f"fpr_{k}": rates["fpr"]}
    return measured


def kinds(questions: Chosen) -> tuple[int, int]:
    """How many general and specific questions are asked."""
    return (0 if questions == "specific" else len(GENERAL)), (0 if questions == "general" else 4)


def expected_rates(
    error: float, general: int, specific: int, *, classes: int, threshold: float = 0.5
) -> tuple[float, float]:
    """TPR and FPR of VDC with an oracle that errs with probability `error`, for images with wrong and right labels.

    Answers about a clean image agree with probability 1 - error. About a dirty one, a wrong yes agrees with the label,
    but a wrong name is the label's in one of `classes` - 1 cases. The number of agreeing answers is then a sum of two
    binomial numbers, and an image is dirty if it is at most `threshold` times the number of questions.

    Example: `expected_rates(0.1, 0, 5, classes=10)` is about (0.991, 0.009)
    """
    most = int(np.floor(threshold * (general + specific) + 1e-9))

    def at_most(agree_general: float, agree_specific: float) -> float:
        parts = [binom.pmf(range(n + 1), n, p) for n, p in ((general, agree_general), (specific, agree_specific))]
        return float(reduce(np.convolve, parts)[: most + 1].sum()) if most >= 0 else 0.0

    return at_most(error / (classes - 1), error), at_most(1 - error, 1 - error)
