"""Tables of verdicts; and the accepted ones, which may get better but not worse."""

import pytest

from bdlib.claims import SCALES, ClaimError, board, load_claims, verdict_table, verify
from bdlib.claims.verdicts import judge
from bdlib.files import FileError


def test_the_head_of_a_chapter_with_and_without_claims():
    html = verdict_table("nad").to_html()
    assert "reproduced" in html and "verdict, paper" in html and "NAD" in html
    assert "No claim of xyz has been written down yet." in verdict_table("xyz").to_html()


def test_worse_better_new_and_vanished():
    before = {"a": "reproduced", "b": "partly", "c": "not reproduced", "d": "reproduced", "e": "not run", "f": "partly"}
    now = {"a": "partly", "b": "reproduced", "c": "not run", "e": "not reproduced", "f": "partly", "g": "partly"}
    worse, better = board.verdict_changes(before, now)
    assert worse == ["a: was reproduced, is partly", "c: was not reproduced, is not run",
                     "d: was reproduced, has vanished"]  # fmt: skip
    assert better == ["b: was partly, is reproduced", "e: was not run, is not reproduced", "g: new, partly"]


@pytest.mark.parametrize("content", [
    b"", b"\xff", b"id\nx", b"id,verdict\nx,perhaps\n", b"id,verdict\nx\n", b"id,verdict\nx,partly\nx,partly\n",
    b"id,verdict\nX Y,partly\n", b"id,verdict\nx,partly,1\n", b"verdict,id\n",
])  # fmt: skip
def test_damaged_accepted_verdicts_are_one_line_that_names_the_file(content, tmp_path, monkeypatch):
    (tmp_path / "verdicts.csv").write_bytes(content)
    monkeypatch.setattr(board, "_accepted_file", lambda scale: tmp_path / "verdicts.csv")
    with pytest.raises(FileError, match="verdicts.csv") as error:
        board.accepted_verdicts("quick")
    assert "\n" not in str(error.value)


@pytest.fixture
def only(claim, monkeypatch):
    """Make one claim, judged at quick scale from NAD's records, the only one there is."""

    def make(**changes):
        single = claim(**{"expected": "below 1.5", "scales": ["quick"]} | changes)
        monkeypatch.setattr(board.schema, "load_claims", lambda: [single])

    return make


def test_verify_fails_on_a_worse_verdict_and_reports_a_better_one(only, claim, tmp_path, monkeypatch, capsys):
    only()
    accepted = tmp_path / "verdicts.csv"
    monkeypatch.setattr(board, "_accepted_file", lambda scale: accepted)
    assert verify() == [] and "nad-x: new, reproduced" in capsys.readouterr().out
    assert not accepted.exists()
    assert verify(["quick"], accept=True) == [] and accepted.read_text() == "id,verdict\nnad-x,reproduced\n"
    assert verify(["quick"]) == [] and "better" not in capsys.readouterr().out.split("accepted")[-1]
    accepted.write_text("id,verdict\nnad-x,not reproduced\n")
    assert verify(["quick"]) == [] and "nad-x: was not reproduced, is reproduced" in capsys.readouterr().out
    only(expected="above 1.5")
    assert verify(["quick"]) == []  # an honest failure, accepted as such
    accepted.write_text("id,verdict\nnad-x,reproduced\nnad-y,partly\n")
    capsys.readouterr()
    worse = verify(["quick"])
    assert worse == ["quick: nad-x: was reproduced, is not reproduced", "quick: nad-y: was partly, has vanished"]
    assert "not reproduced  nad-x: badnets" in capsys.readouterr().out
    only(method="NDA")
    with pytest.raises(ClaimError, match="nad-x: method"):
        verify()


@pytest.mark.parametrize("scale", SCALES)
def test_no_committed_verdict_has_become_worse(scale):
    verdicts = {claim.id: judge(claim, scale).verdict for claim in load_claims() if scale in claim.scales}
    worse, better = board.verdict_changes(board.accepted_verdicts(scale), verdicts)
    assert not worse
    if better and board.accepted_verdicts(scale):
        print("to be accepted:", *better, sep="\n")
