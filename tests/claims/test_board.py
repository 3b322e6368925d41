"""Tables of verdicts."""

import re

import pandas as pd
import pytest

from bdlib.claims import SCALES, board, largest_scale_run, verdict_table


def test_the_head_of_a_chapter_with_and_without_claims():
    html = verdict_table("nad").to_html()
    assert "quick scale" in html and "paper scale</th>" not in html and "Not run yet: paper" in html
    assert "Expected: below 10 %" in html and "reproduced" in html
    assert "No claim of xyz has been written down yet." in verdict_table("xyz").to_html()


def test_no_column_keeps_its_lines_from_breaking_but_intervals_stay_whole():
    html = verdict_table("nad").to_html()
    assert "white-space: pre;" not in html and "white-space: pre-line" in html
    assert re.search(r"BadNets \S+\u00a0\[\S+,\u00a0\S+\]", html)


@pytest.fixture
def two_scales():
    """A claim that both scales answer, and one that only the smaller is asked."""
    one = {
        "claim": "One.",
        "where": "abstract",
        "expected": "below 10 %",
        "verdict, paper": "undecided",
        "verdict, cifar": "not run",
        "verdict, quick": "reproduced",
        "measured, paper": "a 5.0 (one seed)",
        "measured, quick": "a 1 [0, 2]",
    }
    other = one | {"claim": "<Two>", "verdict, paper": board.NOT_ASKED, "measured, paper": ""}
    return pd.DataFrame([one, other])


def test_the_largest_scale_comes_first(two_scales):
    html = board.styled(two_scales, "x").to_html()
    assert html.index("paper scale") < html.index("quick scale") and "Not run yet: cifar scale." in html
    assert "undecided\na 5.0 (one seed)" in html and "&lt;Two&gt;" in html and board.NOT_ASKED in html
    assert [*SCALES] == sorted(SCALES, key=["paper", "cifar", "quick"].index)


def test_the_largest_scale_that_has_been_run(tmp_path, monkeypatch):
    monkeypatch.setattr(board.folders, "RESULTS", tmp_path)
    assert largest_scale_run("nad") == SCALES[-1]
    for scale, paper in (("quick", "nad"), ("paper", "rnp")):
        (tmp_path / scale / paper).mkdir(parents=True)
        (tmp_path / scale / paper / "run.json").touch()
    assert (largest_scale_run("nad"), largest_scale_run("rnp"), largest_scale_run()) == ("quick", "paper", "paper")
