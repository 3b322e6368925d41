"""The drawings of methods: every chapter has its own, nothing leaves its box or crosses another, and words tell it."""

from itertools import combinations, pairwise
from xml.etree import ElementTree as ET

import nbformat
import pytest

from bdlib.checks import ParameterError
from bdlib.experiments.notebooks import notebook
from bdlib.files import FileError
from bdlib.folders import REPORTED
from bdlib.report.drawings import drawing_html, drawing_svg, drawn_methods, load_drawing
from bdlib.report.drawings.glyphs import MARKED, PLAIN
from bdlib.report.drawings.layout import SAYS, WIDTH, lay_out, overflowing
from bdlib.report.drawings.routes import routes
from bdlib.report.drawings.spec import METHODS
from bdlib.report.vector import FILLS, GROUND, INK, text_width, wrapped

SVG = "{http://www.w3.org/2000/svg}"
KEYS = drawn_methods()
each = pytest.mark.parametrize("key", KEYS)


def test_every_page_with_published_numbers_has_a_drawing_and_none_is_left_over():
    papers = {path.stem for path in REPORTED.glob("*.csv")} - {"backdoorbench"}  # the leaderboard is no page
    assert papers == {*KEYS}


@each
def test_the_chapter_shows_it_right_before_the_idea(key):
    cells = nbformat.read(notebook(key), as_version=4).cells
    place = next(i for i, cell in enumerate(cells) if cell.source.startswith("## 3."))
    assert cells[place - 1].source == f'figures.method_drawing("{key}")'


@each
def test_words_stay_inside_their_boxes_and_boxes_inside_the_drawing(key):
    drawing = load_drawing(key)
    layout = lay_out(drawing)
    assert overflowing(drawing) == []
    for place in [*layout.boxes.values(), *layout.frames]:
        assert place.left >= 0 and place.top >= 0 and place.right <= WIDTH and place.bottom <= layout.height
    for one, other in combinations(layout.boxes.values(), 2):
        apart = one.right <= other.left or other.right <= one.left or one.bottom <= other.top or other.bottom <= one.top
        assert apart
    texts = ET.fromstring(drawing_svg(key)).iter(f"{SVG}text")
    for line in texts:
        assert float(line.get("font-size")) >= 12  # on a phone the drawing has about its own size
        if line.get("text-anchor") == "start":
            assert float(line.get("x")) + text_width(line.text, SAYS) <= WIDTH, line.text


@each
def test_arrows_run_along_the_axes_and_around_boxes(key):
    drawing = load_drawing(key)
    layout = lay_out(drawing)
    for arrow, way in zip(drawing.arrows, routes(drawing, layout), strict=True):
        for (x0, y0), (x1, y1) in pairwise(way):
            assert x0 == x1 or y0 == y1
            for name, place in layout.boxes.items():
                across = max(x0, x1) > place.left + 1 and min(x0, x1) < place.right - 1
                along = max(y0, y1) > place.top + 1 and min(y0, y1) < place.bottom - 1
                assert not (across and along), f"{arrow.start} to {arrow.end} runs through {name}"


@each
def test_no_box_is_left_alone(key):
    drawing = load_drawing(key)
    reached = {end for arrow in drawing.arrows for end in (arrow.start, arrow.end)}
    assert reached == {name for name, _, _ in drawing.boxes()}


@each
def test_it_is_told_in_words_and_drawn_alike_each_time(key):
    drawing, text = load_drawing(key), drawing_svg(key)
    root = ET.fromstring(text)
    assert text == drawing_svg(key) and root.get("role") == "img"
    named = {node.get("id"): node.text for node in root if node.get("id")}
    title, words = (named[identity] for identity in root.get("aria-labelledby").split())
    assert title == drawing.title and words == " ".join(drawing.words.split())
    assert drawing.caption.split()[-1] in drawing_html(key) and "\n\n" not in drawing_html(key)
    assert ("illustration" in drawing.caption) == any(box.glyph is not None for _, _, box in drawing.boxes())


def luminance(color):
    parts = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_words_and_lines_stand_out_on_a_light_and_on_a_dark_page():
    assert all(contrast("#000000", fill) >= 7 for fill in FILLS.values())
    assert all(contrast(ink, ground) >= 7 for ink, ground in zip(INK, GROUND, strict=True))
    assert contrast(PLAIN, MARKED) >= 2  # who sees no colors sees two grays


def test_lines_are_wrapped_by_their_width_and_only_between_words():
    lines = wrapped("one mask for each filter learns to fit the same images", 120, 12)
    assert " ".join(lines) == "one mask for each filter learns to fit the same images" and len(lines) > 1
    assert all(text_width(line, 12) <= 120 for line in lines)
    assert wrapped("inseparable", 10, 12) == ["inseparable"] and wrapped("", 10, 12) == []


def test_an_unknown_key_is_refused_with_those_that_there_are():
    with pytest.raises(ParameterError, match="key='nda': must be one of abl, ar, .*nad"):
        load_drawing("nda")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("kind: step, name: Teacher", "kind: stage, name: Teacher", "rows.1.teacher.kind"),
        ("{start: victim, end: teacher}", "{start: victim, end: pupil}", "arrows: 'pupil': no such box"),
        ("{start: victim, end: teacher}", "{start: victim, end: loss}", "it passes a row and needs a side"),
        ("{start: victim, end: teacher}", "{start: clean, end: victim}", "it must lead to the next box"),
        ("first: 3, last: 4", "first: 3, last: 9", "frames: first=3, last=9: there are 5 rows"),
        ("title:", "titel:", "title: Field required"),
        ("rows:", "rows: [", "it is no YAML"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_the_place(old, new, words, tmp_path):
    text = (METHODS / "nad.yaml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "nad.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(FileError) as raised:
        load_drawing("nad", tmp_path)
    assert words in str(raised.value) and "\n" not in str(raised.value)
