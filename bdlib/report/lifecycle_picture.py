"""The map of the book: the five stages of a network's life with the methods that act there, each a link to its page.

It is an SVG inside the page, so that its links work from a file, by the keyboard and on a phone, and its text can be
searched. Boxes and arrows are as in `bdlib.report.diagrams`.
"""

from collections.abc import Iterator
from xml.etree import ElementTree as ET

from bdlib.report.colors import MEANINGS, SECOND
from bdlib.report.lifecycle import STAGES, Method, Registry

WIDTH, LEFT, ROW, GAP, LETTER = 520, 128, 30, 8, 7.3  # pixels of the drawing; LETTER is a mean width
FILLS = {"attack": MEANINGS["triggered"], "defense": SECOND[0]}
STYLE = (
    "#lifecycle{width:100%;max-width:760px;height:auto;font:13px 'DejaVu Sans',Verdana,sans-serif}"
    "#lifecycle a:hover rect,#lifecycle a:focus rect{stroke-width:3}"
    "#lifecycle a:focus{outline:none}#lifecycle a text{text-decoration:underline}"
)


def lifecycle_svg(registry: Registry) -> bytes:
    """The map as SVG text for a page in book/; equal registries give equal bytes."""
    attacks = [method for method in registry.methods.values() if method.side == "attack"]
    rows = {"attacks": attacks} | {
        stage: [m for m in registry.methods.values() if m.side == "defense" and m.stage == stage] for stage in STAGES
    }
    drawing = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "id": "lifecycle", "role": "group",
                                 "aria-labelledby": "lifecycle-title lifecycle-words"})  # fmt: skip
    ET.SubElement(drawing, "title", {"id": "lifecycle-title"}).text = "The life-cycle of a network"
    ET.SubElement(drawing, "desc", {"id": "lifecycle-words"}).text = words(registry)
    ET.SubElement(drawing, "style").text = STYLE
    ground = ET.SubElement(drawing, "rect", {"width": str(WIDTH), "fill": "white"})
    top = 10.0
    for number, (name, methods) in enumerate(rows.items()):
        height = _draw_row(drawing, name, methods, top, number)
        if number < len(rows) - 1:
            _draw_arrow(drawing, LEFT / 2, top + height, top + height + 18)
        top += height + 20
    drawing.set("viewBox", f"0 0 {WIDTH} {top - 10:g}")
    ground.set("height", f"{top - 10:g}")
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
    fill = "white" if methods and name != "attacks" else "#eeeeee"
    _draw_box(drawing, label, 6, top, LEFT - 18, height, fill)
    for method, (line, left) in zip(methods, places, strict=True):
        parent = ET.SubElement(drawing, "a", {"href": method.address}) if method.address else drawing
        _draw_box(parent, method.name, left, top + line * (ROW + GAP), _width(method), ROW, FILLS[method.side])
    if not methods:
        text = ET.SubElement(drawing, "text", {"x": f"{LEFT}", "y": f"{top + ROW / 2 + 5:g}", "fill": "#555555"})
        text.text = "explained below; out of this book's scope"
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
    ET.SubElement(parent, "rect", {"x": f"{left:g}", "y": f"{top:g}", "width": f"{width:g}", "height": f"{height:g}",
                                   "rx": "6", "fill": fill, "stroke": "black", "stroke-width": "0.8"})  # fmt: skip
    middle = {
        "x": f"{left + width / 2:g}",
        "y": f"{top + height / 2 + 4.5:g}",
        "text-anchor": "middle",
        "fill": "black",
    }
    ET.SubElement(parent, "text", middle).text = name


def _draw_arrow(parent: ET.Element, x: float, top: float, bottom: float) -> None:
    path = f"M{x:g} {top:g}V{bottom - 5:g}M{x - 4:g} {bottom - 6:g}L{x:g} {bottom:g}L{x + 4:g} {bottom - 6:g}Z"
    ET.SubElement(parent, "path", {"d": path, "stroke": "black", "stroke-width": "0.8", "fill": "black"})
