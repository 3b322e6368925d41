"""The numbers of small runs are what they were: equal to the last bit on the machine that wrote them, else alike."""

import golden_cases
import golden_file
import pytest
from golden_cases import CASES

GOLDEN = golden_file.read()


def test_the_file_holds_every_case_and_no_other():
    assert GOLDEN["cases"].keys() == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_it_is_what_it_was(name):
    same_machine = golden_cases.machine() == GOLDEN["made_on"]
    found = golden_file.differences(GOLDEN["cases"][name], CASES[name](), same_machine=same_machine)
    assert not found, golden_file.complaint(name, found)


def test_what_moved_is_named():
    was = {"exact": "a", "numbers": {"ACC": 0.9, "measured.gap": 2.0}}
    bits, moved = {**was, "exact": "b"}, {"exact": "b", "numbers": {"ACC": 0.5, "measured.gap": 2.0}}
    assert golden_file.differences(was, was, same_machine=True) == []
    assert golden_file.differences(was, bits, same_machine=True) == [
        "none of its numbers moved, but the bits behind them did"
    ]
    assert golden_file.differences(was, bits, same_machine=False) == []
    assert golden_file.differences(was, moved, same_machine=True) == ["ACC: 0.9 was, 0.5 is"]
    assert golden_file.differences(was, moved, same_machine=False) == ["ACC: 0.9 was, 0.5 is"]
    assert golden_file.differences(was, {"exact": "a", "numbers": {}}, same_machine=False)
    for words in ("NUMBERS_VERSION", "Changes numbers", "golden_cases.py --write", "defense/nad", "ACC: 0.9 was"):
        assert words in golden_file.complaint("defense/nad", ["ACC: 0.9 was, 0.5 is"])
