"""The quiz: read strictly, and a form that works by keyboard, without a script and without a network."""

import re
from html.parser import HTMLParser

import pytest

from bdlib.report import quiz
from bdlib.report.quiz import Answer, Question, QuizError, load_quiz, quiz_html

RIGHT = "  right: {answer: Two., because: One and one.}\n"
WRONG = "  wrong: [{answer: One., because: No.}, {answer: Three., because: No.}]\n"


class Form(HTMLParser):
    """The elements of the form, by their tags."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(quiz, "FOLDER", tmp_path)
    return tmp_path


def test_every_button_has_a_label_and_one_answer_of_each_question_is_right():
    questions = load_quiz("nad")
    text = quiz_html("nad", questions)
    form = Form(text)
    buttons, labels = form.all("input"), form.all("label")
    assert [button["id"] for button in buttons] == [label["for"] for label in labels]
    assert len({button["id"] for button in buttons}) == len(buttons) == sum(len(q.answers) for q in questions)
    assert {button["type"] for button in buttons} == {"radio"}
    assert len({button["name"] for button in buttons}) == len(form.all("fieldset")) == len(questions)
    assert text.count("<b>Right.</b>") == len(questions)
    assert text.count('role="status"') == len(buttons) and "aria-label" in text


def test_the_form_needs_neither_a_script_nor_a_network():
    text = quiz_html("nad", load_quiz("nad"))
    assert not re.search(r"<script|<form|https?:|\bon\w+=|url\(", text)


def test_an_answer_is_text_and_no_markup():
    answers = [Answer(answer=f"{sign} `x < 1`", because="<b>no</b>") for sign in ("<i>", "b", "c")]
    text = quiz_html("p", [Question(question="a & b?", right=answers[0], wrong=answers[1:])])
    assert "&lt;i&gt; <code>x &lt; 1</code>" in text and "&lt;b&gt;no&lt;/b&gt;" in text and "a &amp; b?" in text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- question: Why?\n" + RIGHT + WRONG, "questions: List should have at least 3 items"),
        (3 * ("- question: Why?\n" + RIGHT), "1, wrong: Field required"),
        (
            3 * ("- question: Why?\n" + RIGHT + WRONG.replace("No.}, {", "' '}, {")),
            "1, wrong, 1, because: String should",
        ),
        (3 * ("- question: Why?\n" + RIGHT + WRONG.replace("One.", "Two.")), "Why?: two answers are the same"),
        (3 * ("- question: Why?\n" + RIGHT + WRONG + "  hint: no\n"), "1, hint: Extra inputs"),
    ],
)
def test_a_fault_is_one_line(folder, text, says):
    (folder / "abc.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(QuizError) as error:
        load_quiz("abc")
    assert says in str(error.value) and "\n" not in str(error.value) and "abc.yaml" in str(error.value)


def test_a_page_without_a_quiz_is_named(folder):
    (folder / "abc.yaml").write_text("", encoding="utf-8")
    with pytest.raises(QuizError, match="paper='xyz': no quiz; there are abc"):
        load_quiz("xyz")
