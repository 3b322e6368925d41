"""A repair by another chapter's settings: what a page runs that looks at any repair (`repaired_by`).

Such a page has two parameters in place of a defence's keywords: `repaired_by`, the repair's key, and `repair_settings`,
the profile whose settings of the repair's own chapter it takes. A digest of those settings is among the versions in a
record, so that a chapter that is changed makes the record a missing one.
"""

import functools
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from bdlib.experiments import notebooks, pages
from bdlib.experiments.board_plan import page_of
from bdlib.experiments.config import VictimConfig
from bdlib.experiments.parameters import decisive, overridden
from bdlib.runtime import digest


def chapter_run(parameters: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The repair's chapter, and the parameters of its run on the victim that `parameters` describe.

    Raises ParameterError, in one line, where the chapter cannot run on that victim.

    Example: `chapter_run({"repaired_by": "anp", "repair_settings": "quick", "attack": "blended"})[0]` is "comparison".
    """
    chapter, base = _chapter(parameters["repaired_by"], parameters["repair_settings"])
    victim = {field.name for field in fields(VictimConfig)} & {*parameters} & {*base}
    changes = {name: parameters[name] for name in victim}
    return chapter, overridden(chapter, base | changes)


def settings_version(parameters: Mapping[str, Any]) -> int:
    """A number that stands for the settings of the repair's chapter, without those of the victim."""
    repair, profile = parameters["repaired_by"], parameters["repair_settings"]
    return _settings_version(repair, profile, pages.changed(page_of(repair)))


@functools.lru_cache
def _settings_version(repair: str, profile: str, changed: tuple[int, ...]) -> int:
    """As `settings_version`; made again when the chapter's time of change is another: a study asks for each run."""
    victim = {field.name for field in fields(VictimConfig)}
    _, base = _chapter(repair, profile)
    return int(digest({name: value for name, value in sorted(decisive(base).items()) if name not in victim}), 16)


def _chapter(repair: str, profile: str) -> tuple[str, dict[str, Any]]:
    """The chapter of a repair, and its parameters at a profile, with this repair as its defense."""
    chapter = page_of(repair)
    base = notebooks.parameters(chapter, profile)
    return chapter, base | ({"defense": repair} if "defense" in base else {})
