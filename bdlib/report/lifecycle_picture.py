"""The map of the book: the five stages of a network's life with the methods that act there, each a link to its page.

It is an SVG inside the page, so that its links work from a file, by the keyboard and on a phone, and its text can be
searched. Boxes, arrows and colors are those of the drawings of methods (`bdlib.report.vector`).
"""

from collections.abc import Iterator
from xml.etree import ElementTree as ET

from bdlib.report.lifecycle import STAGES, Method, Registry
from bdlib.report.vector import FILLS, arrow, box, fit, picture, style, text

WIDTH, LEFT, ROW, GAP, LETTER = 520, 128, 30, 8, 7.3  # pixels of the drawing; LETTER is a mean width
RULES = (
    "#lifecycle{max-width:760px;font-size:13px}"
    "#lifecycle a:hover rect,#lifecycle a:focus rect{stroke-width:3}"
    "#lifecycle a:focus{outline:none}#lifecycle a text{text-decoration:underline}"
)


def lifecycle_svg(registry: Registry) -> bytes:
    """The map as SVG text for a page in book/; equal registries give equal bytes."""
    attacks = [method for method in registry.methods.values() if method.side == "attack"]
    rows = {"attacks": attacks} | {
        stage: [m for m in registry.methods.values() if m.side == "defense" and m.stage == stage] for stage in STAGES
    }
    rules = style("lifecycle", RULES)
    drawing = picture("lifecycle", "The life-cycle of a network", words(registry), rules, role="group")
    top = 10.0
    for number, (name, methods) in enumerate(rows.items()):
        height = _draw_row(drawing, name, methods, top, number)
        if number < len(rows) - 1:
            arrow(drawing, (LEFT / 2, top + height), (LEFT / 2, top + height + 18))
        top += height + 20
    fit(drawing, WIDTH, top - 10)
    return ET.tostring(drawing)


def words(registry: Registry) -> str:
    """The picture in words, for who cannot see it: which methods act at which stage."""
    parts = []
    for stage in STAGES:
        names = [m.name for m in registry.methods.values() if m.side == "defense" and m.stage == stage]
        parts.append(f"{stage}: {', '.join(names) or 'none in this book'}")
    attacks = ", ".join(m.name for m in registry.methods.values() if m.side == "attack")
    return f"Attacks come first: {attacks}. Then five stages with their defences. {'; '.join(parts)}."


def _draw_row(drawing: ET.Element, name: str, methods: list[Method], top: float, number: int) -> float:
    """A stage's box at the left and its methods beside it, in as many lines as they need. Returns the height."""
    places = list(_places(methods))
    lines = 1 + max((line for line, _ in places), default=0)
    height = lines * (ROW + GAP) - GAP
    label = name if name == "attacks" else f"{number} {name}"
    fill = FILLS["given" if methods and name != "attacks" else "empty"]
    _draw_box(drawing, label, 6, top, LEFT - 18, height, fill)
    for method, (line, left) in zip(methods, places, strict=True):
        parent = ET.SubElement(drawing, "a", {"href": method.address}) if method.address else drawing
        _draw_box(parent, method.name, left, top + line * (ROW + GAP), _width(method), ROW, FILLS[method.side])
    if not methods:
        said, place = "explained below; out of this book's scope", top + ROW / 2 + 5
        text(drawing, said, LEFT, place, text_anchor="start", **{"class": "label"})
    return height


def _places(methods: list[Method]) -> Iterator[tuple[int, float]]:
    """The line and the left edge of each method's box."""
    line, left = 0, float(LEFT)
    for method in methods:
        if left + _width(method) > WIDTH - 6:
            line, left = line + 1, float(LEFT)
        yield line, left
        left += _width(method) + GAP


def _width(method: Method) -> float:
    return LETTER * len(method.name) + 24


def _draw_box(parent: ET.Element, name: str, left: float, top: float, width: float, height: float, fill: str) -> None:
    box(parent, left, top, width, height, fill)
    text(parent, name, left + width / 2, top + height / 2 + 4.5)
