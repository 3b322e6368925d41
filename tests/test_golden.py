"""The numbers of small runs are what they were: equal to the last bit on the machine that wrote them, else alike."""

import golden_cases
import golden_file
import pytest
from golden_cases import CASES

GOLDEN = golden_file.read()
SAME_MACHINE = golden_cases.machine() == GOLDEN["made_on"]


def test_the_file_holds_every_case_and_no_other():
    assert GOLDEN["cases"].keys() == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_it_is_what_it_was(name):
    complaint = golden_file.complaint(name, GOLDEN["cases"][name], CASES[name](), same_machine=SAME_MACHINE)
    assert not complaint, complaint


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
    assert "raise the NUMBERS_VERSION of defense (now 1), or of what it stands on: loop (now 3)" in complaint
    assert 'CHANGELOG.md under "Changes numbers"' in complaint and "--write defense/nad" in complaint


@pytest.mark.parametrize("found", [WAS, MOVED])
def test_a_version_that_was_raised_asks_for_a_new_golden_file(found):
    raised = {**found, "versions": {"defense": 2, "loop": 3}}
    complaint = golden_file.complaint("defense/nad", WAS, raised, same_machine=True)
    assert complaint == (
        "defense/nad: the NUMBERS_VERSION of defense is another than in the golden file:"
        " write the golden file again with `python tests/golden_cases.py --write defense/nad`."
    )
