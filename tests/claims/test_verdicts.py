"""Verdicts on small tables of runs; and the committed ones, which may get better but not worse."""

import sys

import pandas as pd
import pytest

from bdlib.claims import schema as ledger
from bdlib.claims import verdicts as claims
from bdlib.claims.expressions import ExpressionError, evaluate, parse
from bdlib.claims.schema import ClaimError, check, load, read
from bdlib.runtime import RESULTS, ROOT

ENTRY = {"id": "nad-x", "paper": "nad", "source": "table 1", "statement": "It works.", "quantity": 'asr("NAD")',
         "expected": "below 0.1"}  # fmt: skip


def runs_of(*rows, **columns):
    """A study: each row is (attack, method, ASR of seed 0, ASR of seed 1, ...); the victim's ASR is 1, its ACC 0.9."""
    table = [
        {"attack": attack, "rho": 0.0, "beta": (0.0, 0.0), "seed": seed, "clean_accuracy_before": 0.9,
         "asr_before": 1.0, "robust_accuracy_before": 0.0, "clean_accuracy_after": 0.8, "asr_after": asr,
         "robust_accuracy_after": 1 - asr, "der": 0.5, "seconds": 2.0, "method": method}
        for attack, method, *by_seed in rows for seed, asr in enumerate(by_seed)
    ]  # fmt: skip
    names = ["attack", "rho", "beta", "seed", "clean_accuracy_before", "asr_before", "asr_after", "method"]
    return pd.DataFrame(table, columns=list(table[0]) if table else names).assign(**columns)


def judged(*rows, runs=None, **changes):
    return claims.over_runs(read(ENTRY | changes), "quick", runs_of(*rows) if runs is None else runs)


STEADY, WILD, HIGH = (0.01, 0.02, 0.03), (0.0, 0.0, 0.2), (0.5, 0.6, 0.7)


@pytest.mark.parametrize(
    ("rows", "groups", "verdict"),
    [
        ([("a", "NAD", *STEADY)], ["yes"], "reproduced"),
        ([("a", "NAD", *STEADY), ("b", "NAD", *STEADY)], ["yes", "yes"], "reproduced"),
        ([("a", "NAD", *WILD)], ["leaning"], "partly"),
        ([("a", "NAD", *HIGH)], ["no"], "not reproduced"),
        ([("a", "NAD", *HIGH), ("b", "NAD", *HIGH)], ["no", "no"], "not reproduced"),
        ([("a", "NAD", *STEADY), ("b", "NAD", *HIGH)], ["yes", "no"], "partly"),
        ([("a", "NAD", *STEADY), ("b", "NAD", *WILD)], ["yes", "leaning"], "partly"),
        ([("a", "NAD", *HIGH), ("b", "NAD", *WILD)], ["no", "leaning"], "partly"),
        ([("a", "NAD", 0.01)], ["leaning"], "partly"),  # one seed proves nothing
        ([("a", "NAD", 0.5)], ["no"], "not reproduced"),
        ([("a", "fine-tuning", *STEADY)], [], "not run"),
        ([], [], "not run"),
    ],
)
def test_every_verdict(rows, groups, verdict):
    found = judged(*rows)
    assert [group.verdict for group in found.groups] == groups and found.verdict == verdict


@pytest.mark.parametrize(
    ("expected", "tolerance", "verdict"),
    [
        ("below 0.5", 0, "not reproduced"),  # equal is not below
        ("below 0.5", 0.01, "reproduced"),
        ("below 0.49", 0.01, "not reproduced"),
        ("above 0.5", 0, "not reproduced"),
        ("above 0.51", 0.02, "reproduced"),
        ("above 0.51", 0.01, "not reproduced"),
        ("equal 0.5", 0, "reproduced"),
        ("equal 0.6", 0.1, "reproduced"),
        ("equal 0.6", 0.09, "not reproduced"),
        ("below -0.1", 0, "not reproduced"),
    ],
)
def test_bounds_and_tolerance(expected, tolerance, verdict):
    assert judged(("a", "NAD", 0.5, 0.5), expected=expected, tolerance=tolerance).verdict == verdict


def test_the_interval_decides_and_is_students():
    group = judged(("a", "NAD", 0.1, 0.2, 0.3)).groups[0]
    assert (group.mean, group.seeds) == (pytest.approx(0.2), 3)
    assert group.high == pytest.approx(0.2 + 4.302653 * 0.1 / 3**0.5, abs=1e-5)
    assert group.low == 0  # a share, whatever the formula says
    assert judged(("a", "NAD", 0.1, 0.2, 0.3), quantity='1 * asr("NAD")').groups[0].low < 0


def test_differences_are_paired_by_seed_and_ratios_divide():
    rows = [("a", "NAD", 0.1, 0.3, 0.5), ("a", "fine-tuning", 0.2, 0.4)]
    paired = judged(*rows, quantity='asr("NAD") - asr("fine-tuning")', expected="equal -0.1")
    assert paired.verdict == "reproduced" and paired.groups[0].seeds == 2
    ratio = judged(*rows, quantity='asr("fine-tuning") / (2 * asr("NAD"))', expected="below 2")
    assert ratio.groups[0].mean == pytest.approx((1 + 2 / 3) / 2) and ratio.measured[0].startswith("a 0.833 [")
    spent = judged(*rows, quantity='abs(-seconds("NAD")) + der("NAD")', expected="equal 2.5")
    assert spent.verdict == "reproduced" and spent.measured == ["a 2.5 [2.5, 2.5]"]
    nothing = judged(("a", "NAD", 0.0, 0.0), quantity='asr("victim") / asr("NAD")', expected="above 2")
    assert nothing.verdict == "not reproduced" and nothing.measured == ["a undefined"]  # infinite is no measurement


def test_the_victim_has_the_scores_before():
    rows = [("a", method, 0.1, 0.2) for method in ("NAD", "fine-tuning")]
    assert judged(*rows, quantity='acc("victim") - acc("NAD")', expected="equal 0.1").groups[0].seeds == 2
    assert judged(*rows, quantity='ra("NAD") - ra("victim")', expected="above 0.2").verdict == "reproduced"
    two = pd.concat([runs_of(*rows, poison_rate=rate)[["poison_rate", *runs_of(*rows).columns]] for rate in (0.1, 0.5)])
    with pytest.raises(ClaimError, match="choose by poison_rate"):
        judged(runs=two, quantity='acc("victim")')


def test_filters_choose_among_parameters():
    some = [runs_of(("a", "NAD", asr, asr), rho=rho) for asr, rho in ((0.1, 0.0), (0.3, 2.0))]
    runs = pd.concat(some, ignore_index=True)
    runs["beta"] = [(1.0, 2.0)] * 2 + [(3.0, 4.0)] * 2
    difference = 'asr("NAD", rho=2) - asr("NAD", beta=[1, 2])'
    assert judged(runs=runs, quantity=difference, expected="equal 0.2").verdict == "reproduced"
    assert judged(runs=runs, quantity='asr("NAD", rho=7)').verdict == "not run"
    with pytest.raises(ClaimError, match=r"nad-x: quantity: asr\('NAD'\) has 2 runs .* choose by rho, beta"):
        judged(runs=runs)
    by_rho = judged(runs=runs, each="rho", expected="below 0.2")
    assert [(group.name, group.verdict) for group in by_rho.groups] == [("0", "yes"), ("2", "no")]
    by_beta = judged(runs=runs, each="beta")
    assert [group.name for group in by_beta.groups] == ["1-2", "3-4"]


def test_a_filter_on_the_judged_column_goes_with_every_group():
    runs = runs_of(("a", "NAD", 0.1, 0.2), ("b", "NAD", 0.5, 0.6), ("c", "NAD", 0.3))
    lead = judged(runs=runs, quantity='asr("NAD") - asr("NAD", attack="a")', expected="above 0.3")
    assert [(group.name, round(group.mean, 9), group.seeds) for group in lead.groups] == [
        ("a", 0.0, 2), ("b", 0.4, 2), ("c", 0.2, 1),
    ]  # fmt: skip
    alone = judged(runs=runs, quantity='asr("NAD", attack="b") - asr("NAD", attack="a")', expected="equal 0.4")
    assert [(group.name, group.verdict) for group in alone.groups] == [("b and a", "yes")]
    assert judged(runs=runs, quantity='asr("NAD", attack="b")', expected="above 0").groups[0].name == "b"


def test_what_was_measured_inside():
    runs = runs_of(("a", "NAD", 0.1, 0.2), ("a", "fine-tuning", 0.1, 0.2))
    runs["drift"] = [2.0, 3.0, None, None]
    assert judged(runs=runs, quantity='measured("drift", "NAD")', expected="above 1").groups[0].mean == 2.5
    for wrong in ('measured("drfit", "NAD")', 'measured("drift", "fine-tuning")'):
        with pytest.raises(ClaimError, match="is not measured of"):
            judged(runs=runs, quantity=wrong)
    none = runs_of(("a", "fine-tuning", 0.1, 0.2))
    assert judged(runs=none, quantity='measured("drift", "NAD")').verdict == "not run"
    twice = 'measured("drift", "NAD") - measured("drift", "fine-tuning")'
    check(read(ENTRY | {"quantity": twice}))  # planned runs have one column of that name, though it is read twice


@pytest.mark.parametrize(
    "text",
    ["asr(", "1 + 2", "asr", 'asr("NAD") ** 2', 'asr("NAD").mean()', '__import__("os")', 'open("x")', "asr(NAD)",
     'asr("NAD", "x")', 'asr("NAD", **{"rho": 1})', 'asr("NAD", rho=open("x"))', 'max(asr("NAD"), 1)', "True",
     'asr("NAD") if 1 else 2', 'measured("NAD")', 'asr("NAD") < 1', '[asr("NAD")]', "abs()", 'asr(f"NAD")',
     'abs(asr("NAD"), 2)', '(lambda: 1)()', 'asr("NAD") + "x"', "asr()"],
)  # fmt: skip
def test_nothing_else_is_allowed(text):
    with pytest.raises(ExpressionError, match="allowed are numbers") as caught:
        parse(text)
    assert "\n" not in str(caught.value)
    with pytest.raises(ClaimError, match="nad-x: quantity: "):
        read(ENTRY | {"quantity": text})


@pytest.mark.parametrize(
    ("text", "words"),
    [('seconds("victim")', "no value for"), ('asr("NAD", roh=1)', "roh=1: no such parameter; there are attack, rho"),
     ('asr("NAD") / (1 - 1)', "divides by zero")],
)  # fmt: skip
def test_what_records_cannot_answer(text, words):
    with pytest.raises(ExpressionError, match=words):
        evaluate(text, runs_of(("a", "NAD", 0.1, 0.2)), "attack")
    with pytest.raises(ExpressionError, match="no column power"):
        evaluate('asr("NAD")', runs_of(("a", "NAD", 0.1, 0.2)), "power")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"bound": 1}, "bound: no such key"),
        ({"statement": None}, "statement: missing"),
        ({"source": 3}, "source: 3 must be text"),
        ({"paper": "nda"}, "paper: no notebook nda"),
        ({"study": "headlines"}, "study: nad has no headlines; there are beta, clean_fraction"),
        ({"expected": "under 0.1"}, "expected: 'under 0.1' must be below"),
        ({"expected": "below a tenth"}, "expected:"),
        ({"expected": 0.1}, "expected:"),
        ({"tolerance": -1}, "tolerance: -1 must be"),
        ({"tolerance": "small"}, "tolerance:"),
        ({"unit": "percent"}, "unit:"),
        ({"profiles": ["smoke"]}, "profiles:"),
        ({"profiles": "quick"}, "profiles:"),
        ({"each": "seed"}, "each:"),
        ({"id": "NAD x"}, "id:"),
    ],
)
def test_a_faulty_entry_is_named_in_one_line(changes, field):
    entry = {key: value for key, value in (ENTRY | changes).items() if value is not None}
    with pytest.raises(ClaimError) as caught:
        read(entry)
    assert str(caught.value).startswith(f"{entry['id']}: {field}") and "\n" not in str(caught.value)


def test_a_file_of_claims(tmp_path, monkeypatch):
    path = tmp_path / "claims.yaml"
    path.write_text("# none yet\n")
    assert load(path) == []
    path.write_text(f"- {ENTRY}\n- {ENTRY}\n")
    with pytest.raises(ClaimError, match="nad-x: id: another claim has it too"):
        load(path)
    path.write_text("- just words\n")
    with pytest.raises(ClaimError, match="just words: id: missing"):
        load(path)


def test_a_claim_that_no_run_will_answer_is_refused():
    check(read(ENTRY))
    for wrong in ('asr("NDA")', 'asr("NAD", seed=77)', 'asr("NAD", clean_fraction=0.01)'):
        with pytest.raises(ClaimError, match=r"no run of study headline answers it; its methods are NAD, fine-tuning"):
            check(read(ENTRY | {"quantity": wrong}))
    check(read(ENTRY | {"quantity": 'measured("anything", "NAD")'}))


def test_values_are_shown_in_their_unit():
    assert judged(("a", "NAD", 0.5, 0.5)).measured == ["a 50.0 [50.0, 50.0]"]
    assert judged(("a", "NAD", 0.5)).measured == ["a 50.0 (one seed)"]
    assert judged(("a", "NAD", 0.5, 0.5), unit="number").measured == ["a 0.5 [0.5, 0.5]"]
    mixed = judged(("a", "NAD", *STEADY), ("b", "NAD", *HIGH)).measured
    assert mixed[0].endswith("(yes)") and mixed[1].endswith("(no)")
    assert read(ENTRY | {"tolerance": 0.05}).expectation == "below 10 % (tolerance 5)"
    assert read(ENTRY | {"quantity": 'asr("NAD") - ra("NAD")'}).expectation == "below 10 points"
    assert read(ENTRY | {"quantity": 'seconds("NAD")', "expected": "above 3"}).expectation == "above 3"


def test_the_head_of_a_chapter_with_and_without_claims():
    shown = claims.verdicts("nad").to_html()
    assert "reproduced" in shown and "verdict, paper" in shown and "NAD" in shown
    assert "No claim of rnp" in claims.verdicts("rnp").to_html() or "verdict, quick" in claims.verdicts("rnp").to_html()
    assert "No claim of xyz has been written down yet." in claims.verdicts("xyz").to_html()


def test_worse_better_new_and_vanished():
    before = {"a": "reproduced", "b": "partly", "c": "not reproduced", "d": "reproduced", "e": "not run", "f": "partly"}
    now = {"a": "partly", "b": "reproduced", "c": "not run", "e": "not reproduced", "f": "partly", "g": "partly"}
    worse, better = claims.changes(before, now)
    assert worse == ["a: was reproduced, is partly", "c: was not reproduced, is not run",
                     "d: was reproduced, has vanished"]  # fmt: skip
    assert better == ["b: was partly, is reproduced", "e: was not run, is not reproduced", "g: new, partly"]


@pytest.fixture
def small_ledger(tmp_path, monkeypatch):
    """A ledger of one claim, judged from NAD's records, and an empty place for accepted verdicts."""
    monkeypatch.setattr(claims.provenance, "RESULTS", tmp_path)
    monkeypatch.setattr(claims, "load", lambda: [read(ENTRY | {"expected": "below 1.5", "profiles": ["quick"]})])
    return tmp_path / "quick" / "verdicts.csv"


def verify(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["claims", "--profile", "quick", *words])
    try:
        claims.main()
    except SystemExit as stopped:
        return stopped.code
    return 0


def test_verify_fails_on_a_worse_verdict_and_reports_a_better_one(small_ledger, monkeypatch, capsys):
    assert verify(monkeypatch) == 0 and "nad-x: new, reproduced" in capsys.readouterr().out
    assert not small_ledger.exists()
    assert verify(monkeypatch, "--accept") == 0 and small_ledger.read_text() == "id,verdict\nnad-x,reproduced\n"
    assert verify(monkeypatch) == 0 and "better" not in capsys.readouterr().out.split("accepted")[-1]
    small_ledger.write_text("id,verdict\nnad-x,not reproduced\n")
    assert verify(monkeypatch) == 0 and "nad-x: was not reproduced, is reproduced" in capsys.readouterr().out
    harder = read(ENTRY | {"expected": "above 1.5", "profiles": ["quick"]})
    monkeypatch.setattr(claims, "load", lambda: [harder])
    assert verify(monkeypatch) == 0  # an honest failure, accepted as such
    small_ledger.write_text("id,verdict\nnad-x,reproduced\nnad-y,partly\n")
    capsys.readouterr()
    assert verify(monkeypatch) == 1
    told = capsys.readouterr()
    assert "2 verdicts are worse" in told.err and "quick: nad-x: was reproduced, is not reproduced" in told.err
    assert "quick: nad-y: was partly, has vanished" in told.err and "not reproduced  nad-x: badnets" in told.out
    monkeypatch.setattr(claims, "load", lambda: [read(ENTRY | {"quantity": 'asr("NDA")'})])
    assert verify(monkeypatch) == 2 and "ClaimError: nad-x" in capsys.readouterr().err


def test_every_claim_can_be_answered_once_its_runs_are_there():
    for claim in load():
        check(claim)


@pytest.mark.parametrize("profile", ledger.PROFILES)
def test_no_committed_verdict_has_become_worse(profile):
    board = claims.scoreboard(profile)
    worse, better = claims.changes(claims.accepted(profile), dict(zip(board["id"], board["verdict"], strict=True)))
    assert not worse
    if better and claims.accepted(profile):
        print("to be accepted:", *better, sep="\n")


def test_the_files_of_the_scoreboard_page(monkeypatch):
    sys.path.insert(0, str(ROOT / "scripts"))
    import build_book

    files = build_book.scoreboard()
    assert files == build_book.scoreboard() and RESULTS.is_dir()
    page = (ROOT / "book" / "scoreboard.md").read_text()
    assert all(f"_generated/{name}" in page for name in files)
    found = claims.table(load())
    text = files["scoreboard.txt"].decode()
    assert text.count("<tr>") == len(found) + found["paper"].nunique()
    assert all("\n\n" not in table.split("</table>")[0] for table in text.split("<style")[1:])  # it would end the HTML
    counted = pd.read_csv(pd.io.common.BytesIO(files["verdict_counts.csv"]))
    assert counted[counted["paper"] == "all"].iloc[0, 2:].sum() == (found["verdict, quick"] != "not asked").sum()
    monkeypatch.setattr(build_book.claims, "load", list)
    assert build_book.scoreboard()["scoreboard.txt"] == b""
