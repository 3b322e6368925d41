"""The generated files of the book's own pages."""

import io

import pandas as pd
import pytest

from bdlib import claims
from bdlib.folders import ROOT
from bdlib.report import book_files, scoreboard


@pytest.fixture(scope="module")
def of_scoreboard():
    """Made once: every claim is judged at every scale, which takes half a minute."""
    return scoreboard.scoreboard_files()


def test_the_files_of_the_scoreboard_page(of_scoreboard, monkeypatch):
    files = of_scoreboard
    page = (ROOT / "book" / "scoreboard.md").read_text()
    assert all(f"_generated/{name}" in page for name in files)
    table = claims.claims_table(claims.load_claims())
    text = files["scoreboard.txt"].decode()
    assert text.count("<tr>") == len(table) + table["paper"].nunique()
    assert all("\n\n" not in part.split("</table>")[0] for part in text.split("<style")[1:])  # it would end the HTML
    counts = pd.read_csv(io.BytesIO(files["verdict_counts.csv"]))
    sums = counts[counts["paper"] == "all"].set_index("scale").drop(columns="paper").sum(axis=1)
    assert list(sums.index) == [*claims.SCALES]
    assert all(sums[scale] == (table[f"verdict, {scale}"] != "not asked").sum() for scale in claims.SCALES)
    monkeypatch.setattr(scoreboard.claims, "load_claims", list)
    assert scoreboard.scoreboard_files()["scoreboard.txt"] == b""


def test_every_generated_file_is_shown_by_a_page_and_none_is_missing(of_scoreboard):
    pages = "".join(path.read_text() for path in (ROOT / "book").glob("*.md"))
    files = book_files.generated_files("quick")
    assert {word.split()[0].rstrip("`)") for word in pages.split("_generated/")[1:]} == files.keys()
    assert all(files.values()) and of_scoreboard.items() <= files.items()  # the same bytes again


def test_a_table_without_runs_is_a_sentence():
    words = ("Of STRIP", "strip", "Not yet.")
    none = pd.DataFrame([{"attack": "none", "ASR (%)": "not run yet"}])
    assert book_files._table_or_sentence(none, *words) == b"Not yet.\n"
    text = book_files._table_or_sentence(pd.DataFrame([{"attack": "sig", "ASR (%)": "99.0"}]), *words).decode()
    assert text.startswith("~~~{csv-table} Of STRIP\n") and text.endswith("\n\nattack,ASR (%)\nsig,99.0\n~~~\n")


def test_pages_without_records_say_so(monkeypatch):
    assert book_files.findings("paper").loc[0, "attack"] == "not run yet"
    assert {*book_files.findings()["scale"]} == {"cifar"}  # the largest that has been run
    assert book_files.trained("paper").loc[0, "method"] == "none"
    monkeypatch.setattr(book_files, "ROOT", ROOT / "nowhere")
    assert [table.loc[0, "scale"] for table in book_files.benchmarks().values()] == ["none", "none"]
