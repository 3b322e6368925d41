"""The accepted verdicts, which may get better but not worse."""

from collections import Counter

import pytest

from bdlib.claims import SCALES, VERDICTS, ClaimError, accepted, is_asked, largest_scale_run, load_claims, verify
from bdlib.claims.verdicts import judge
from bdlib.files import FileError
from bdlib.folders import ROOT


def test_worse_better_new_and_vanished():
    before = {"a": "reproduced", "b": "partly", "c": "not reproduced", "d": "reproduced", "e": "not run", "f": "partly"}
    now = {"a": "partly", "b": "reproduced", "c": "not run", "e": "not reproduced", "f": "partly", "g": "partly"}
    worse, better = accepted.verdict_changes(before, now)
    assert worse == ["a: was reproduced, is partly", "c: was not reproduced, is not run",
                     "d: was reproduced, has vanished"]  # fmt: skip
    assert better == ["b: was partly, is reproduced", "e: was not run, is not reproduced", "g: new, partly"]


@pytest.mark.parametrize(("old", "new"), [
    ("reproduced", "undecided"), ("not reproduced", "undecided"), ("undecided", "not testable"),
    ("not reproduced", "not testable"), ("not testable", "not run"), ("partly", "not reproduced"),
])  # fmt: skip
def test_to_know_less_is_worse_and_an_honest_no_is_not(old, new):
    worse, better = accepted.verdict_changes({"a": old, "b": new}, {"a": new, "b": old})
    assert worse == [f"a: was {old}, is {new}"] and better == [f"b: was {new}, is {old}"]


@pytest.mark.parametrize("content", [
    b"", b"\xff", b"id\nx", b"id,verdict\nx,perhaps\n", b"id,verdict\nx\n", b"id,verdict\nx,partly\nx,partly\n",
    b"id,verdict\nX Y,partly\n", b"id,verdict\nx,partly,1\n", b"verdict,id\n",
])  # fmt: skip
def test_damaged_accepted_verdicts_are_one_line_that_names_the_file(content, tmp_path, monkeypatch):
    (tmp_path / "verdicts.csv").write_bytes(content)
    monkeypatch.setattr(accepted, "_accepted_file", lambda scale: tmp_path / "verdicts.csv")
    with pytest.raises(FileError, match="verdicts.csv") as error:
        accepted.accepted_verdicts("quick")
    assert "\n" not in str(error.value)


@pytest.fixture
def only(claim, monkeypatch):
    """Make one claim, judged at quick scale from NAD's records, the only one there is."""

    def make(**changes):
        single = claim(**{"expected": "below 1.5", "scales": ["quick"]} | changes)
        monkeypatch.setattr(accepted.schema, "load_claims", lambda: [single])

    return make


def test_verify_fails_on_a_worse_verdict_and_reports_a_better_one(only, claim, tmp_path, monkeypatch, capsys):
    only()
    file = tmp_path / "verdicts.csv"
    monkeypatch.setattr(accepted, "_accepted_file", lambda scale: file)
    assert verify() == [] and "nad-x: new, reproduced" in capsys.readouterr().out
    assert not file.exists()
    assert verify(["quick"]) == [] and "quick: 1 claims: 1 reproduced\n" in capsys.readouterr().out
    assert verify(["quick"], accept=True) == [] and file.read_text() == "id,verdict\nnad-x,reproduced\n"
    assert verify(["quick"]) == [] and "better" not in capsys.readouterr().out.split("accepted")[-1]
    file.write_text("id,verdict\nnad-x,not reproduced\n")
    assert verify(["quick"]) == [] and "nad-x: was not reproduced, is reproduced" in capsys.readouterr().out
    only(expected="above 1.5")
    assert verify(["quick"]) == []  # an honest failure, accepted as such
    file.write_text("id,verdict\nnad-x,reproduced\nnad-y,partly\n")
    capsys.readouterr()
    worse = verify(["quick"])
    assert worse == ["quick: nad-x: was reproduced, is not reproduced", "quick: nad-y: was partly, has vanished"]
    assert "not reproduced  nad-x: BadNets" in capsys.readouterr().out
    only(method="NDA")
    with pytest.raises(ClaimError, match="nad-x: method"):
        verify()


@pytest.mark.parametrize("scale", SCALES)
def test_no_committed_verdict_has_become_worse(scale):
    verdicts = {claim.id: judge(claim, scale).verdict for claim in load_claims() if is_asked(claim, scale)}
    worse, better = accepted.verdict_changes(accepted.accepted_verdicts(scale), verdicts)
    assert not worse
    if better and accepted.accepted_verdicts(scale):
        print("to be accepted:", *better, sep="\n")


def test_the_readme_gives_the_counts_of_the_accepted_verdicts():
    words = " ".join((ROOT / "README.md").read_text().split())
    counts = Counter(accepted.accepted_verdicts(largest_scale_run()).values())
    words_of = {verdict: verdict for verdict in VERDICTS} | {"partly": "partly reproduced"}
    numbers = {verdict: f"{number} {'is' if number == 1 else 'are'}" for verdict, number in counts.items()}
    listed = ", ".join(f"{numbers[verdict]} {words_of[verdict]}" for verdict in VERDICTS if counts[verdict])
    assert f"Of {counts.total()} claims of the papers, {listed} (`make verify`" in words
