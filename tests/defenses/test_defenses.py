"""The register of defenses, and where each of them is."""

import importlib
import inspect
from types import ModuleType

import pytest

from bdlib.defenses import DEFENSES


@pytest.mark.parametrize("key", DEFENSES)
def test_a_key_is_the_name_of_a_module_that_holds_the_function_of_that_name(key):
    room = importlib.import_module(f"bdlib.defenses.{key}")
    assert isinstance(room, ModuleType) and getattr(importlib.import_module("bdlib.defenses"), key) is room
    assert getattr(room, key) is DEFENSES[key]


@pytest.mark.parametrize("key", DEFENSES)
def test_every_defense_has_a_version_of_its_numbers(key):
    assert isinstance(inspect.getmodule(inspect.unwrap(DEFENSES[key])).NUMBERS_VERSION, int)
