"""Every chapter has the same frame, in the same order; whatever it draws is announced and then read aloud."""

import ast
import re
from itertools import pairwise

import nbformat
import pytest
import yaml

from bdlib.claims import load_claims
from bdlib.experiments.notebooks import NOTEBOOKS
from bdlib.report.quiz import FOLDER, load_quiz

CHAPTERS = """nad rnp ar nwc sau npd ft_sam abl pdb vdc lps strip attacks mp_fair reactivation
              comparison survey workshop""".split()
PAPERS = {claim.paper for claim in load_claims()}
SILENT = ("Markdown(", "print(", "figures.show(", "figures.style(", "check(", "quiz(")  # code that draws nothing
FRAME = [
    "finding", "**Why it matters.**", "**You will learn**", "**You will be able to**", "**You need first**",
    "## 1. Parameters", "## Recap", "## Quiz", "Exercises", "Provenance", "## Where to go next",
]  # fmt: skip


def cells(chapter):
    return nbformat.read(NOTEBOOKS / f"{chapter}.ipynb", as_version=4).cells


def last_expression(cell):
    """What a cell of code ends with, as text; empty for an assignment, for the cell of Colab, and for prose."""
    if cell.cell_type != "code" or "%pip" in cell.source:
        return ""
    body = ast.parse(cell.source).body
    return ast.unparse(body[-1]) if body and isinstance(body[-1], ast.Expr) else ""


def draws(cell):
    """Whether a cell shows a figure or a table."""
    end = last_expression(cell)
    return bool(end) and not end.startswith(SILENT)


def speaks(cell):
    """Whether a cell is prose, or prints a computed sentence."""
    return cell.cell_type == "markdown" or last_expression(cell).startswith("Markdown(")


def begins_with_a_sentence(cell):
    """Neither a heading, a label, a table nor the bold head of a new topic."""
    return cell.cell_type == "code" or not re.match(r"#|\(\S+\)=|\*\*|\||<", cell.source)


def ends_with_a_sentence(cell):
    return cell.cell_type == "code" or not cell.source.rstrip().rpartition("\n")[2].startswith("#")


def unread(found):
    """The ids of the cells that draw something without words before and after; until the section on provenance.

    The drawing of a method has its words in its caption, and the section on the idea after it.
    """
    end = next(n for n, cell in enumerate(found) if re.search(r"^## .*Provenance$", cell.source, re.M))
    lacking = []
    for number, cell in enumerate(found[:end]):
        if draws(cell):
            after = found[number + 1]
            before = next(one for one in reversed(found[:number]) if speaks(one) or draws(one))
            announced = speaks(before) and ends_with_a_sentence(before)
            read = "method_drawing(" in last_expression(cell) or (speaks(after) and begins_with_a_sentence(after))
            if not (announced and read):
                lacking.append(cell["id"])
    return lacking


def test_every_paper_with_claims_in_the_table_of_contents_is_a_chapter():
    parts = yaml.safe_load((NOTEBOOKS.parent / "book" / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    papers = next(part["chapters"] for part in parts if part["caption"] == "Papers")
    assert PAPERS & {page["file"].removeprefix("notebooks/") for page in papers} <= {*CHAPTERS}


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_has_all_parts_of_the_frame_in_order(chapter):
    found = cells(chapter)
    text = "\n".join(f"{'finding' if 'import finding' in c.source else ''}{c.source}" for c in found)
    assert last_expression(next(c for c in found if "bdlib.report.finding" in c.source)) == "Markdown(finding_in_words)"
    frame = FRAME if chapter not in PAPERS else [*FRAME[:6], "### The paper's claims, one by one", *FRAME[6:]]
    places = [text.find(part) for part in frame]
    assert min(places) >= 0, dict(zip(frame, places, strict=True))
    places[-3:-1] = [re.search(rf"^## \d+\. {part}$", text, re.M).start() for part in ("Exercises", "Provenance")]
    assert all(one < other for one, other in pairwise(places)), dict(zip(frame, places, strict=True))
    recap = text[text.index("## Recap") : text.index("## Quiz")]
    assert len(re.findall(r"^- ", recap, re.M)) == 3
    assert f'quiz("{chapter}")' in text
    assert found[-1].source.startswith("## Where to go next") and found[-1].source.count("](") >= 3
    assert (f'claims.verdict_table("{chapter}")' in text) == (chapter in PAPERS)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_figures_and_tables_are_announced_and_read(chapter):
    assert unread(cells(chapter)) == []


def test_a_figure_without_a_word_is_noticed():
    found = cells("nad")
    place = next(number for number, cell in enumerate(found) if cell["id"] == "nad-32")
    assert unread(found[: place + 1] + found[place + 2 :]) == ["nad-32"]
    assert unread(found[: place + 1] + found[place:]) == ["nad-32", "nad-32"]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_quiz_can_be_read_and_does_not_give_itself_away(chapter):
    """One right answer each, a line of feedback for every answer, and the right one not always in the same place."""
    questions = load_quiz(chapter)
    places = [question.answers.index(question.right) for question in questions]
    assert all(one.because for question in questions for one in question.answers)
    longest = [max(question.answers, key=lambda one: len(one.answer)) == question.right for question in questions]
    assert len({*places}) > 1 and not all(longest)


def test_there_is_no_quiz_without_a_chapter():
    assert {path.stem for path in FOLDER.glob("*")} == {*CHAPTERS}
