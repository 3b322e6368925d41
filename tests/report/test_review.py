"""The document that a reviewer attaches."""

import re
from hashlib import sha256
from html import unescape

import pandas as pd
import pytest
from click.testing import CliRunner

from bdlib import claims, folders
from bdlib.cli import main
from bdlib.experiments import studies
from bdlib.report import review, review_files


@pytest.fixture(scope="module")
def sections():
    return review.review("nad")


def tables_of(sections, title):
    return [
        block for part in sections if part.title == title for block in part.blocks if isinstance(block, pd.DataFrame)
    ]


def test_it_holds_every_claim_and_every_record_by_its_hash(sections):
    (table,) = tables_of(sections, "What is claimed, and what was measured")
    assert list(table["claim"]) == [claim.statement for claim in claims.load_claims() if claim.paper == "nad"]
    (files,) = tables_of(sections, "Records")
    assert len(files) == len(list(folders.RESULTS.glob("*/nad/*.json"))) > 50
    first = files.iloc[0]
    assert first["SHA-256"] == sha256((folders.RESULTS / first["file"]).read_bytes()).hexdigest()
    (machines,) = tables_of(sections, "Machines and versions")
    assert machines["records"].sum() == len(files)


def test_both_files_hold_it_all_and_load_nothing(sections, tmp_path):
    html, pdf = review_files.write_review("A < B", sections, tmp_path, "nad-report")
    text = html.read_text(encoding="utf-8")
    assert "<h1>A &lt; B</h1>" in text and not re.search(r'(src|href)="(?!data:)', text)
    assert all(part.title in unescape(text) for part in sections)
    assert text.count("<img alt=") == sum("Main runs" in part.title for part in sections) >= 2
    assert pdf.read_bytes().startswith(b"%PDF-") and pdf.read_bytes().count(b"/Type /Page\n") > 3


def test_the_command_writes_both_files_and_refuses_one_that_is_not_there(tmp_path):
    done = CliRunner().invoke(main, ["report", "strip", "--out", str(tmp_path / "new")])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["strip-report.html", "strip-report.pdf"]
    wrong = CliRunner().invoke(main, ["report", "nda", "--out", str(tmp_path / "other")])
    assert wrong.exit_code == 2 and "nda: must be one of" in wrong.output and not (tmp_path / "other").exists()


def test_a_page_without_attacks_has_no_figure():
    assert list(review.main_runs("mp_fair")) == []
    assert "shared control" not in set(studies.load_headline("mp_fair", "quick")["method"])


def test_a_page_without_records_says_so(monkeypatch):
    monkeypatch.setattr(review, "read_present", lambda paths: {})
    assert review.record_files("nad") == ["No record is here yet."] and "No run is here yet." in review.rerun("nad")
    assert "No record is here yet." in review.machines("nad")


def test_every_page_has_a_line_of_what_to_expect():
    table = review.overview()
    assert {"nad", "vdc", "mp_fair"} <= {*table["page"]} and not table["page"].duplicated().any()
    asked = table.set_index("page").loc["mp_fair", "verdicts"]
    assert sum(int(number) for number in re.findall(r"\d+", asked)) == 10
