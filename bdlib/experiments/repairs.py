"""A repair by another chapter's settings: what a page runs that looks at any repair (`repaired_by`).

Such a page has two parameters in place of a defence's keywords: `repaired_by`, the repair's key, and `repair_settings`,
the profile whose settings of the repair's own chapter it takes. A digest of those settings is among the versions in a
record, so that a chapter that is changed makes the record a missing one.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from bdlib.experiments import notebooks
from bdlib.experiments.board_plan import page_of
from bdlib.experiments.config import VictimConfig
from bdlib.experiments.parameters import decisive, defenses_of, overridden
from bdlib.runtime import digest


def chapter_run(parameters: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The repair's chapter, and the parameters of its run on the victim that `parameters` describe.

    Raises ParameterError, in one line, where the chapter cannot run on that victim.

    Example: `chapter_run({"repaired_by": "anp", "repair_settings": "quick", "attack": "blended"})[0]` is "comparison".
    """
    repair, profile = parameters["repaired_by"], parameters["repair_settings"]
    chapter = page_of(repair)
    base = notebooks.parameters(chapter, profile)
    victim = {field.name for field in fields(VictimConfig)} & {*parameters} & {*base}
    changes = {name: parameters[name] for name in victim}
    if "defense" in base and repair in defenses_of(chapter):
        changes["defense"] = repair
    return chapter, overridden(chapter, base | changes)


def settings_version(parameters: Mapping[str, Any]) -> int:
    """A number that stands for the settings of the repair's chapter, without those of the victim."""
    victim = {field.name for field in fields(VictimConfig)}
    _, run = chapter_run(parameters)
    return int(digest({name: value for name, value in sorted(decisive(run).items()) if name not in victim}), 16)
