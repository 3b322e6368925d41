"""The book's own defenses, run beside a stranger's code with the settings of their chapters."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import nn

from bdlib.checks import ParameterError
from bdlib.data.images import ImageSet
from bdlib.defenses import DEFENSES
from bdlib.evaluation.metrics import Scores
from bdlib.experiments import notebooks
from bdlib.experiments.config import VictimConfig
from bdlib.experiments.parameters import settings
from bdlib.experiments.records import Record
from bdlib.experiments.run import defend, recorded
from bdlib.experiments.victims import evaluate_victim
from bdlib.submissions.outcome import PAGE
from bdlib.types import EventLog

OF_THE_NETWORK = ("layers", "layer", "readout", "beta")  # settings that name parts of the chapter's own network
USUAL = ("fine_tune", "anp", "ft_sam")  # that run where nobody names others


def check_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    """The keys of defenses as they are. Raises ParameterError for one that there is not, or that asks for words."""
    for key in keys:
        if key not in DEFENSES or key in ("vdc", "staged"):
            known = ", ".join(name for name in DEFENSES if name not in ("vdc", "staged"))
            raise ParameterError(f"against={key!r}: must be one of {known}")
    return keys


def parameters_of(key: str, config: VictimConfig, profile: str, clean_fraction: float) -> tuple[str, dict[str, Any]]:
    """The page whose settings a defense has, and all parameters of its run on a victim."""
    page = key if key in notebooks.papers() else PAGE
    parameters = notebooks.parameters(page, profile)
    own = {"defense": key} if page == PAGE else {}
    victim = {name: value for name, value in asdict(config).items() if name in parameters or name == "victim_epochs"}
    return page, parameters | victim | own | {"clean_fraction": clean_fraction}


def run_ours(
    key: str,
    config: VictimConfig,
    profile: str,
    clean_fraction: float,
    model: nn.Module,
    before: Scores,
    test: ImageSet,
) -> Record:
    """The record of a defense of the book on a victim, with the settings of its chapter at a profile."""
    page, parameters = parameters_of(key, config, profile, clean_fraction)
    events, start = EventLog(), time.perf_counter()
    defended = defend(page, parameters, model, events)
    seconds = time.perf_counter() - start
    after = evaluate_victim(config, defended, test)
    parameters |= {"defense": key}
    return recorded(page, parameters, before, after, seconds, None, events.get("passes"))


def keywords_of(key: str, config: VictimConfig, profile: str) -> Mapping[str, Any]:
    """The keywords of a defense in its chapter, without those that name parts of the chapter's own network."""
    _, parameters = parameters_of(key, config, profile, 0.05)
    found = settings(DEFENSES[key], parameters)
    return {name: value for name, value in found.items() if name not in OF_THE_NETWORK}
