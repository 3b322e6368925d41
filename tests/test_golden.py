"""The numbers of small runs are what they were: equal to the last bit on the machine that wrote them, else alike."""

import functools
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import golden_cases
import golden_file
import pytest
import torch.nn.functional as F
from golden_cases import CASES

from bdlib.attacks import ATTACKS, attack, low_frequency, poisoning, wanet
from bdlib.evaluation.apply_trigger import AllToAll
from bdlib.experiments import victims

GOLDEN = golden_file.read()
SAME_MACHINE = golden_cases.machine() == GOLDEN["made_on"]


def test_the_file_holds_every_case_and_no_other():
    assert GOLDEN["cases"].keys() == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_it_is_what_it_was(name):
    complaint = golden_file.complaint(name, GOLDEN["cases"][name], result(name), same_machine=SAME_MACHINE)
    assert not complaint, complaint


@functools.cache
def result(name):
    return CASES[name]()


WAS = {"exact": "a", "numbers": {"ACC": 0.9, "measured.gap": 2.0}, "versions": {"defense": 1, "loop": 3}}
OTHER_BITS = {**WAS, "exact": "b"}
MOVED = {**OTHER_BITS, "numbers": {"ACC": 0.5, "measured.gap": 2.0}}


def test_what_moved_is_named():
    assert golden_file.differences(WAS, WAS, same_machine=True) == []
    assert golden_file.differences(WAS, OTHER_BITS, same_machine=True) == [
        "none of its numbers moved, but the bits behind them did"
    ]
    assert golden_file.differences(WAS, OTHER_BITS, same_machine=False) == []
    assert golden_file.differences(WAS, MOVED, same_machine=True) == ["ACC: 0.9 was, 0.5 is"]
    assert golden_file.differences(WAS, MOVED, same_machine=False) == ["ACC: 0.9 was, 0.5 is"]
    assert golden_file.differences(WAS, {"exact": "a", "numbers": {}, "versions": {}}, same_machine=False)


def test_numbers_that_moved_under_the_same_version_ask_for_a_new_one():
    assert golden_file.complaint("defense/nad", WAS, WAS, same_machine=True) == ""
    complaint = golden_file.complaint("defense/nad", WAS, MOVED, same_machine=True)
    assert complaint.startswith("defense/nad is not what the golden file says:\n  ACC: 0.9 was, 0.5 is\n")
    assert "raise the NUMBERS_VERSION of the part that was changed (as yet: defense 1, loop 3)" in complaint
    assert 'CHANGELOG.md under "Changes numbers"' in complaint and "--write defense/nad" in complaint


@pytest.mark.parametrize("found", [WAS, MOVED])
def test_a_version_that_was_raised_asks_for_a_new_golden_file(found):
    raised = {**found, "versions": {"defense": 2, "loop": 3}}
    complaint = golden_file.complaint("defense/nad", WAS, raised, same_machine=True)
    assert complaint == (
        "defense/nad: the NUMBERS_VERSION of defense is another than in the golden file:"
        " write the golden file again with `python tests/golden_cases.py --write defense/nad`."
    )


def other_seed(*args, seed, **keywords):
    return poisoning.draw_positions(*args, seed=seed + 1, **keywords)


def nearest(images, field):
    return F.grid_sample(images, field, mode="nearest", padding_mode="zeros", align_corners=True).clamp(0, 1)


UNSEEN = {  # what a digest of the source text did not see: a case that it moves, and the change
    "lowest modes": ("attack/low_frequency", mock.patch.object(low_frequency, "_LOWEST_MODES", ((0, 1), (1, 0)))),
    "split seed": ("attack/badnets", mock.patch.object(victims, "SPLIT_SEED", 1)),
    "poison seed": ("attack/badnets", mock.patch.object(attack, "draw_positions", other_seed)),
    "shift of labels": (
        "attack/badnets, all to all",
        mock.patch.object(AllToAll, "__call__", lambda self, labels: (labels + 2) % self.num_classes),
    ),
    "sampling of WaNet": ("attack/wanet", mock.patch.object(wanet, "_read_at", nearest)),
    "clean label": ("attack/sig", mock.patch.dict(ATTACKS, sig=replace(ATTACKS["sig"], clean_label=False))),
}


@pytest.mark.parametrize("change", UNSEEN)
def test_a_change_of_numbers_is_seen_and_its_attack_named(change, tmp_path, monkeypatch):
    name, patch = UNSEEN[change]
    before = result(name)
    monkeypatch.setattr(golden_cases, "cache", lambda: SimpleNamespace(name=tmp_path))  # no victim made before
    with patch:
        complaint = golden_file.complaint(name, before, CASES[name](), same_machine=True)
    assert complaint.startswith(f"{name} is not what the golden file says") and "attack 1" in complaint
