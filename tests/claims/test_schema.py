"""book/claims.yaml: what an entry may be, and the one line that names what is wrong with it."""

import pytest
import yaml

from bdlib.claims.schema import FILE, Claim, ClaimError, load_claims, read_claim
from bdlib.files import FileError


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"bound": 1}, "bound: no such key; there are metric, method, where, expected, versus"),
        ({"quantity": 'asr("NAD")'}, "quantity: no such key"),
        ({"statement": None}, "statement: missing"),
        ({"metric": None}, "metric: missing"),
        ({"method": None}, "method: missing"),
        ({"source": 3}, "source: 3 must be text"),
        ({"metric": ["asr", "acc"]}, "metric: ['asr', 'acc'] must be text"),
        ({"method": " "}, "method: ' ' must be text"),
        ({"paper": "nda"}, "paper: no notebook nda"),
        ({"study": "headlines"}, "study: nad has no headlines; there are beta, clean_fraction"),
        ({"expected": "under 0.1"}, "expected: 'under 0.1' must be below"),
        ({"expected": "below a tenth"}, "expected:"),
        ({"expected": 0.1}, "expected:"),
        ({"tolerance": -1}, "tolerance: -1 must be a number from 0"),
        ({"tolerance": "small"}, "tolerance:"),
        ({"tolerance": True}, "tolerance:"),
        ({"unit": "percent"}, "unit: 'percent' must be share, points or number"),
        ({"scales": ["smoke"]}, "scales: ['smoke'] must be a list of paper and quick"),
        ({"scales": "quick"}, "scales:"),
        ({"scales": []}, "scales:"),
        ({"each": "seed"}, "each:"),
        ({"premise": {"expected": "above 0"}}, "premise: reason: missing"),
        ({"premise": "above 0"}, "premise: 'above 0' must be a mapping of expected and"),
        ({"floor": {}}, "floor: expected: missing"),
        (
            {"floor": {"above": 0.5, "expected": "above 0"}},
            "floor: above: no such key; there are metric, method, where, expected",
        ),
        ({"floor": {"expected": "above half"}}, "floor: expected: 'above half' must be below"),
        ({"floor": {"expected": "above 0", "how": "ratio"}}, "floor: how: 'ratio' must be value without versus"),
        ({"floor": {"expected": "above 0", "versus": {"metrics": "ra"}}}, "floor: versus: metrics: no such key"),
        ({"id": "NAD x"}, "id:"),
        ({"where": "attack=badnets"}, "where: 'attack=badnets' must be parameters and their values"),
        ({"where": {"rho": {"low": 1}}}, "where:"),
        ({"where": {"rho": None}}, "where:"),
        ({"how": "product", "versus": "fine-tuning"}, "how: 'product' must be value, difference, ratio or correlation"),
        ({"how": "ratio"}, "how: 'ratio' must be value without versus"),
        ({"versus": "fine-tuning"}, "how: 'value' must be difference, ratio or correlation with versus"),
        ({"how": "difference", "versus": 3}, "versus: 3 must be a method, or a mapping"),
        ({"how": "difference", "versus": ""}, "versus: '' must be a method"),
        ({"how": "difference", "versus": {"metrics": "ra"}}, "versus: metrics: no such key; there are metric, method"),
        ({"how": "difference", "versus": {"metric": 2}}, "versus: metric: 2 must be text"),
        ({"how": "difference", "versus": {1: 2}}, "versus: {1: 2} must be a method, or a mapping"),
        ({"how": "difference", "versus": {"where": {"rho": {}}}}, "versus: where: {'rho': {}} must be parameters"),
    ],
)
def test_a_faulty_entry_is_named_in_one_line(claim, changes, fault):
    with pytest.raises(ClaimError) as caught:
        claim(**changes)
    assert str(caught.value).startswith(f"{changes.get('id', 'nad-x')}: {fault}") and "\n" not in str(caught.value)


def test_versus_replaces_a_part_of_the_reading(claim):
    one = claim(where={"rho": 1.0}, versus="fine-tuning", how="difference")
    assert str(one) == "asr of NAD where rho=1.0" and str(one.other) == "asr of fine-tuning where rho=1.0"
    two = claim(versus={"metric": "ra", "where": {"rho": 2.0}}, how="ratio")
    assert str(two.other) == "ra of NAD where rho=2.0" and claim().other is None


def test_a_condition_has_the_readings_of_the_claim_unless_it_says_otherwise(claim):
    premise = claim(where={"rho": 1.0}, premise={"expected": "above 0", "reason": "It is."}).condition("premise")
    assert str(premise) == "asr of NAD where rho=1.0" and premise.how == "value"
    floor = claim(method="victim", versus={"method": "NAD", "where": {"rho": 2.0}}, how="difference",
                  floor={"versus": "victim", "expected": "above -0.1"}).condition("floor")  # fmt: skip
    assert str(floor) == "acc of NAD where rho=2.0" and (floor.other.method, floor.how) == ("victim", "difference")
    assert claim().condition("floor") is None


def test_a_file_of_claims(entry, tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text("# none yet\n")
    assert load_claims(path) == []
    path.write_text(f"- {entry}\n- {entry}\n")
    with pytest.raises(ClaimError, match="nad-x: id: another claim has it too"):
        load_claims(path)
    path.write_text("- just words\n")
    with pytest.raises(ClaimError, match="claims.yaml: just words: id: missing"):
        load_claims(path)


@pytest.mark.parametrize("content", [b"[1, 2", b"\xff\xfe", b"3", b"a: 1", b"- a: 1\n  a: 2", b"\0", b"- {id: [1]}"])
def test_a_damaged_file_of_claims_is_one_line_that_names_it(content, tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="claims.yaml") as error:
        load_claims(path)
    assert type(error.value) in (ClaimError, FileError) and "\n" not in str(error.value)


def test_a_missing_file_of_claims_is_named(tmp_path):
    with pytest.raises(ClaimError, match="claims.yaml: it is missing"):
        load_claims(tmp_path / "claims.yaml")


def test_expectations_are_shown_in_their_unit(claim):
    assert claim(tolerance=0.05).expectation == "below 10 % (tolerance 5)"
    assert claim(versus={"metric": "ra"}, how="difference").expectation == "below 10 points"
    assert claim(versus="fine-tuning", how="ratio", expected="below 2").expectation == "below 2"
    assert claim(metric="seconds", expected="above 3").expectation == "above 3"
    assert claim(metric="drift", expected="above 0.5").expectation == "above 0.5"
    assert claim(metric="drift", unit="points", expected="above 0.5").expectation == "above 50 points"
    assert claim(metric="drift", unit="share", expected="above 0.5").expectation == "above 50 %"
    assert claim(unit="number").expectation == "below 0.1"


def test_the_example_in_the_head_of_the_file_is_an_entry_that_can_be_read():
    head = FILE.read_text().split("\n\n")[0]
    lines = [line[2:] for line in head.splitlines() if line.startswith(("# - ", "#   ")) and ": " in line[:24]]
    (entry,) = yaml.safe_load("\n".join(lines))
    assert read_claim(entry).how == "difference" and entry.keys() == Claim.model_fields.keys()
