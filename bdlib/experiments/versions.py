"""The versions of the code that decide a run's numbers: the NUMBERS_VERSION of every module that takes part in it."""

from inspect import signature
from typing import Any

from bdlib.defenses import DEFENSES
from bdlib.defenses.detectors import DETECTORS
from bdlib.evaluation import metrics
from bdlib.experiments import keys, pages
from bdlib.experiments.config import VictimConfig
from bdlib.experiments.keys import module_of
from bdlib.experiments.regression import WITHOUT_VICTIM
from bdlib.mechanisms import MECHANISMS


def versions(paper: str, parameters: dict[str, Any]) -> dict[str, int]:
    """The version of each part that decides the numbers of a run with these parameters, by the name of the part.

    >>> versions("nad", notebooks.parameters("nad", "quick"))["defense"]
    """
    if paper in WITHOUT_VICTIM:
        return WITHOUT_VICTIM[paper].versions()
    numbers = victim_versions(VictimConfig.from_parameters(parameters)) | {"metrics": metrics.NUMBERS_VERSION}
    if (defense := defense_of(paper, parameters)) != "none":
        numbers["defense"] = module_of(DEFENSES[defense]).NUMBERS_VERSION
        if "repaired_by" in parameters:
            from bdlib.experiments.repairs import settings_version  # which reads the chapters

            numbers["repair_settings"] = settings_version(parameters)
    if is_measured(paper, parameters):
        numbers["mechanism"] = module_of(MECHANISMS[paper]).NUMBERS_VERSION
    if (detector := parameters.get("detector")) in DETECTORS:
        numbers["detector"] = module_of(DETECTORS[detector]).NUMBERS_VERSION
    return numbers | (keys.selection_versions(parameters["selection"]) if "selection" in parameters else {})


def victim_versions(config: VictimConfig) -> dict[str, int]:
    """As `versions`, of what decides a victim, without the selection of the images to poison."""
    numbers = {part: module.NUMBERS_VERSION for part, module in (keys.MODULES | {"victims": keys}).items()}
    return {"attack": config.attack_object.NUMBERS_VERSION, **numbers, **keys.own_versions(config)}


def defense_of(paper: str, parameters: dict[str, Any]) -> str:
    """The key of the defense of a run: the one that `repaired_by` or `defense` names, or else the paper's own."""
    return parameters.get("repaired_by") or parameters.get("defense", paper)


def is_measured(paper: str, parameters: dict[str, Any]) -> bool:
    """Whether a run measures the paper's mechanism: it has one, and its own defense ran.

    That is the one of the paper's key, or else the one that its notebook names: none where it repairs nothing; on a
    page that looks at any repair, any. A measure that does not look at the defended model needs no defense to have run.
    """
    if paper not in MECHANISMS:
        return False
    if "repaired_by" in parameters:  # a page that looks at any repair
        return True
    own = paper if paper in DEFENSES else pages.defaults(pages.notebook(paper))["defense"]
    needs_a_run = "defended" in signature(MECHANISMS[paper]).parameters
    return defense_of(paper, parameters) in ({own} if needs_a_run else {own, "none"})
