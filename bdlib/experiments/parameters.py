"""The parameters of a notebook, checked before any compute; an error is one line that names the culprit.

A parameter and its range are written on the signature that takes it: a field of VictimConfig, a field of RunConfig, or
a keyword of one of the page's functions. Papermill itself only warns when it is given a parameter that a notebook does
not have, and runs on with the default.
"""

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import Field

from bdlib import ranges
from bdlib.checks import (
    OneOf,
    ParameterError,
    Range,
    check_values,
    field_ranges,
    keywords,
    range_of,
    require_plain,
)
from bdlib.data.datasets import DATASETS
from bdlib.defenses import DEFENSES
from bdlib.experiments import pages
from bdlib.experiments.answerers import check_answerer, check_detector
from bdlib.experiments.config import VictimConfig, added_settings
from bdlib.experiments.needs import check_defense, check_layers
from bdlib.experiments.places import check_place
from bdlib.experiments.regression import WITHOUT_VICTIM
from bdlib.mechanisms import MECHANISMS
from bdlib.runtime import AddedAt


def is_repair(defense: Callable[..., Any]) -> bool:
    """Whether a defense changes a finished network, and neither trains one nor filters images before."""
    asked = signature(defense).parameters
    return "model" in asked and "make_model" not in asked


# What a page got after its first records, for methods that it runs since then: the value that stands for its absence.
ADDED_TO_PAGES: dict[str, dict[str, Any]] = {
    "comparison": {
        "threshold_deviations": 3.0,
        "unlearning_rounds": 5, "fixed_point_steps": 5, "outer_rate": 1e-3, "inner_rate": 10.0, "ball_radius": 10.0,
        "perturbed_share": 0.01,
        "inversion_epochs": 80, "least_success": 0.98, "anomaly_threshold": 2.0, "stamped_share": 0.2,
        "expected_share": 0.1, "rule": "smaller",
        "training_epochs": 8, "training_rate": 0.1, "training_batch_size": 64,
    },
}  # fmt: skip
REPAIRS = dict.fromkeys(["none", *(key for key, defense in DEFENSES.items() if is_repair(defense))])
WITHOUT_EFFECT = ("profile", "record")  # parameters that change no number of a run


@dataclass(frozen=True)
class RunConfig:
    """The parameters of a run that belong to no victim and no method."""

    profile: Literal["quick", "cifar", "paper"]  # whose records fill the tables
    record: str  # file that receives the run's record; empty for none
    defense: str  # "none", or one of `defenses_of` the page
    clean_fraction: Annotated[float, Field(gt=0, le=0.5)]  # the defender's share of the training images
    repaired_by: Annotated[str, OneOf(REPAIRS)]  # of a page that looks at any repair
    repair_settings: Literal["smoke", "quick", "cifar", "paper"]  # the profile whose settings the repair's chapter has
    seed: ranges.Seed


def check(paper: str, namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a paper's notebook out of its `globals()`.

    Their names are those in the notebook's cell tagged `parameters`. Raises ParameterError when papermill injected
    another name, when one was deleted, and as `validated` does.

    >>> params = check("rnp", globals())
    """
    names = pages.defaults(pages.notebook(paper))
    check_names("this notebook", names, injected_names(namespace.get("In", [])))
    return validated(paper, {name: namespace[name] for name in names if name in namespace})


def injected_names(history: Sequence[str]) -> list[str]:
    """The names that papermill's own cell assigns, out of the kernel's input history."""
    cells = [cell for cell in history if cell.startswith("# Parameters\n")]
    return [name for cell in cells for name in pages.assigned_names(cell)]


def overridden(paper: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters in a paper's notebook with `changes` made. Raises ParameterError."""
    known = pages.defaults(pages.notebook(paper))
    check_names(f"{paper}.ipynb", known, changes)
    return validated(paper, {**known, **changes})


def check_names(where: str, known: Collection[str], names: Iterable[str]) -> None:
    """Raise ParameterError for the first of `names` that is not among the `known` parameters of `where`."""
    for name in names:
        if name not in known:
            raise ParameterError(f"{name}: no such parameter; {where} has {', '.join(known)}")


def validated(paper: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """The same parameters, if they are those of the paper's notebook, each in its range, and agree with each other.

    `profile` and `record`, which change no number, may be left out. Raises ParameterError, also for a parameter that
    nothing on the page takes, and for a keyword on the page that is no parameter: one that was renamed is both.
    """
    functions, allowed = functions_of(paper), ranges_of(paper)
    for name in pages.defaults(pages.notebook(paper)):
        if name not in parameters and name not in WITHOUT_EFFECT:
            raise ParameterError(f"{name}: missing from the parameters")
    for name in parameters:
        if not any(name in part for part in allowed):
            names = ", ".join(function.__name__ for function in functions) or "no method"
            raise ParameterError(f"{name}: nothing that the page {paper} runs takes it; it runs {names}")
    for part in allowed:
        check_values(parameters, part)
    require_plain(parameters)
    for function in functions:
        settings(function, parameters)
    if paper in WITHOUT_VICTIM:
        WITHOUT_VICTIM[paper].from_parameters(parameters)
    else:
        _check_victim(paper, parameters)
    if record := parameters.get("record"):
        check_place("record", Path(record))
    return parameters


def _check_victim(paper: str, parameters: dict[str, Any]) -> None:
    """Raise ParameterError unless the victim, its network and the defense of a run fit each other."""
    VictimConfig.from_parameters(parameters)
    check_layers(parameters)
    check_answerer(parameters)
    check_detector(parameters)
    if parameters.get("repaired_by", "none") != "none":
        from bdlib.experiments.repairs import chapter_run  # which checks the chapter's parameters as this does

        chapter_run(parameters)
    if defense := DEFENSES.get(parameters.get("defense", paper)):
        check_defense(defense, settings(defense, parameters), parameters)


def decisive(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that decide the numbers of a run."""
    return {name: value for name, value in parameters.items() if name not in WITHOUT_EFFECT}


def added_later(paper: str) -> dict[str, Any]:
    """The parameters that a page got after its first records, each with the value that those records stand for."""
    return dict(_added_later(paper, (*functions_of(paper),), pages.changed(paper)))


@functools.lru_cache
def _added_later(paper: str, functions: tuple[Callable[..., Any], ...], changed: tuple[int, ...]) -> dict[str, Any]:
    """As `added_later`; found again when a file's time of change is another, since every record asks for it."""
    own = pages.defaults(pages.notebook(paper))
    added = {name: value for name, value in added_settings().items() if name in own} | ADDED_TO_PAGES.get(paper, {})
    hints = [hint for function in functions for hint in get_type_hints(function, include_extras=True).items()]
    marks = ((name, mark) for name, hint in hints for mark in getattr(hint, "__metadata__", ()))
    return added | {name: mark.value for name, mark in marks if isinstance(mark, AddedAt)}


def settings(function: Callable[..., Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Every keyword argument of a defense, one of its stages or a mechanism, out of a page's parameters.

    The augmentation comes with the data set. Raises ParameterError for a keyword that the parameters lack.
    """
    values = {"augmentation": DATASETS[parameters["dataset"]].augmentation, **parameters}
    for name in keywords(function):
        if name not in values:
            raise ParameterError(f"{name}: {function.__name__} takes it, but it is not among the parameters")
    return {name: values[name] for name in keywords(function)}


def ranges_of(paper: str) -> list[Mapping[str, Range]]:
    """The ranges of what a page may have as parameters: its victim's, its run's, its functions', its defenses.

    A page without a victim has the settings of its own experiment instead, and where the record goes.
    """
    if config := WITHOUT_VICTIM.get(paper):
        run = field_ranges(RunConfig)
        return [field_ranges(config), {name: run[name] for name in WITHOUT_EFFECT}]  # type: ignore[arg-type]
    own = [field_ranges(VictimConfig), field_ranges(RunConfig), *map(keywords, functions_of(paper))]
    return [*own, {"defense": _one_of("none", *defenses_of(paper))}]


@functools.lru_cache
def _one_of(*names: str) -> Range:
    return range_of(Annotated[str, OneOf(dict.fromkeys(names))])


def functions_of(paper: str) -> list[Callable[..., Any]]:
    """What a page's runs call with its parameters: its defenses, and the measure of its mechanism."""
    return [*(DEFENSES[key] for key in defenses_of(paper)), *([MECHANISMS[paper]] if paper in MECHANISMS else [])]


def defenses_of(paper: str) -> list[str]:
    """The keys of the defenses that a page can run: the paper's own, and those that its studies name."""
    return [key for key in _named_defenses(paper, pages.changed(paper)) if key in DEFENSES]


@functools.lru_cache
def _named_defenses(paper: str, changed: tuple[int, ...]) -> list[str]:
    """The paper's own key, that of its notebook's `defense`, and those that its studies name.

    Read again when a file's time of change is another.
    """
    own = [paper, pages.defaults(pages.notebook(paper)).get("defense", "none")]
    lines = [line for profile in pages.PROFILES for part in pages.study_lines(paper, profile).values() for line in part]
    return [*dict.fromkeys([*own, *(key for line in lines for key in line.get("defense", []))])]
