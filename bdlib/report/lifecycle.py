"""The methods of the book on the life-cycle of a network: the registry book/map.yaml, the rule that places a method.

Wu et al., arXiv:2312.08890, cut the life of a network into five stages. Papers disagree about where a method belongs.
So the registry says what each method is given, and a rule derives the stage from that.
"""

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pandas as pd
from pydantic import BaseModel, Field, ValidationError

from bdlib.experiments import notebooks
from bdlib.files import FileError
from bdlib.folders import ROOT

FILE = ROOT / "book" / "map.yaml"
Text = Annotated[str, Field(pattern=r"\S")]
Stage = Literal["pre-training", "training", "post-training", "deployment", "inference"]
STAGES: tuple[Stage, ...] = get_args(Stage)  # in the order of a network's life
Input = Literal["clean images", "poisoned images", "training", "network", "queries"]
ARGUMENTS: dict[str, Input] = {"clean": "clean images", "poisoned": "poisoned images", "make_model": "training",
                               "model": "network", "queries": "queries"}  # fmt: skip
TUNING, STRUCTURE = "removal by tuning", "removal by structure modification"


class StageText(BaseModel, frozen=True, extra="forbid"):
    """A stage, for a student: each a part of a sentence but the first."""

    what: Text
    can: Text
    cannot: Text


class Method(BaseModel, frozen=True, extra="forbid"):
    """An entry of the registry; the head of book/map.yaml explains the keys."""

    name: Text
    side: Literal["defense", "attack"] = "defense"
    page: Annotated[str, Field(pattern=r"^(notebooks|book)/[a-z0-9_]+$")]
    stage: Stage
    branch: Text
    also: Text | None = None  # a second place
    takes: tuple[Input, ...] = ()
    looks_with: Text | None = None
    needs: Text | None = None  # beside what it takes
    changes_architecture: bool = False
    extra_per_query: Text | None = None

    @property
    def has_page(self) -> bool:
        """Whether the page is in this checkout."""
        return any((ROOT / f"{self.page}{suffix}").is_file() for suffix in (".ipynb", ".md"))

    @property
    def address(self) -> str | None:
        """Where its page is in the built book, as seen from a page in book/; None where there is none yet."""
        if not self.has_page:
            return None
        return "#filters" if self.page == "book/map" else f"../{self.page}.html"


class Registry(BaseModel, frozen=True, extra="forbid"):
    """The whole of book/map.yaml."""

    stages: dict[Stage, StageText]
    methods: dict[str, Method]


def load_registry(path: Path = FILE) -> Registry:
    """The registry, with every place checked by the rule. Raises FileError, in one line that names file and method."""
    text = notebooks.read_yaml(path)
    if not isinstance(text, dict):
        raise FileError(f"{path}: must have the keys stages and methods")
    try:
        registry = Registry.model_validate(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise FileError(f"{path}: {place}: {first['input']!r}: {first['msg'].lower()}") from None
    if missing := [stage for stage in STAGES if stage not in registry.stages]:
        raise FileError(f"{path}: stages: {missing[0]} is missing")
    for key, method in registry.methods.items():
        if method.side == "defense" and (found := stage_of(method.takes)) != method.stage:
            place = f"it is {found}" if found else "it fits no stage"
            raise FileError(f"{path}: {key}: stage: {method.stage!r}: by what it takes, {place}")
        if method.stage == "post-training" and method.branch != branch_of(method.changes_architecture):
            raise FileError(
                f"{path}: {key}: branch: {method.branch!r}: must be {branch_of(method.changes_architecture)}"
            )
    return registry


def stage_of(takes: tuple[Input, ...]) -> Stage | None:
    """The rule: the stage of a defense, from what it is given; None where it fits no stage.

    Example: `stage_of(("network", "clean images"))` is "post-training".
    """
    if "queries" in takes:
        return "inference"
    if "training" in takes:
        return "training"
    if "poisoned images" in takes:
        return "pre-training"
    return "post-training" if "network" in takes else None


def branch_of(changes_architecture: bool) -> str:
    """The branch of a repair: whether it changes only the values of weights, or the network itself."""
    return STRUCTURE if changes_architecture else TUNING


def taken_by(function: Callable[..., Any], looks_with: str | None = None) -> set[Input]:
    """What a function of the library is given, by the names of its arguments; not the network that it `looks_with`."""
    asked = {ARGUMENTS[name] for name in signature(function).parameters if name in ARGUMENTS}
    return asked - {"network"} if looks_with else asked


def assumptions(registry: Registry) -> pd.DataFrame:
    """The assumption matrix: a row for each defense, stage by stage; a page that is here is linked."""
    rows = []
    for stage in STAGES:
        for method in registry.methods.values():
            if method.side == "defense" and method.stage == stage:
                given = ", ".join(name for name in get_args(Input) if name in method.takes)
                given += f"; {method.looks_with}" if method.looks_with else ""
                rows.append({"method": _linked(method), "stage": stage, "is given": given,
                             "changes the architecture": "yes" if method.changes_architecture else "",
                             "extra work per query": method.extra_per_query or ""})  # fmt: skip
    return pd.DataFrame(rows)


def stage_words(registry: Registry) -> str:
    """What each stage can and cannot do, as Markdown: a paragraph and two lines for each."""
    lines = []
    for number, stage in enumerate(STAGES, 1):
        text = registry.stages[stage]
        lines += [f"**{number}. {stage.capitalize()}.** {text.what}", "", f"- It can {text.can}.",
                  f"- It cannot {text.cannot}.", ""]  # fmt: skip
    return "\n".join(lines)


def _linked(method: Method) -> str:
    target = f"../{method.page}" + (".ipynb" if method.page.startswith("notebooks/") else ".md")
    return f"[{method.name}]({target})" if method.has_page and method.page != "book/map" else method.name
