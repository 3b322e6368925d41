"""A drawing as SVG: boxes, their words and signs, arrows over frames."""

from itertools import pairwise
from xml.etree import ElementTree as ET

from bdlib.report.drawings.glyphs import draw_glyph, draw_sign
from bdlib.report.drawings.layout import (
    GLYPH,
    LINE,
    NAME,
    PAD,
    SAYS,
    SIGN,
    SIGNED,
    WIDTH,
    Place,
    lay_out,
    lines_of,
)
from bdlib.report.drawings.routes import Point, routes
from bdlib.report.drawings.spec import Box, Drawing
from bdlib.report.vector import FILLS, INK, arrow, box, fit, picture, style, text, text_width

FILL_OF = {"poisoned": "bad", "result": "result"}  # of a plain box: by its kind


def paint(drawing: Drawing, key: str) -> bytes:
    """The drawing as SVG for a page; equal drawings give equal bytes."""
    layout, identity = lay_out(drawing), f"drawing-{key}"
    rules = style(identity, f"#{identity}{{max-width:480px;display:block;margin:auto}}")
    root = picture(identity, drawing.title, " ".join(drawing.words.split()), rules)
    fit(root, WIDTH, layout.height)
    ways = routes(drawing, layout)
    for place in layout.frames:
        ET.SubElement(root, "rect", {"x": f"{place.left:g}", "y": f"{place.top:g}", "width": f"{place.width:g}",
                                     "height": f"{place.height:g}", "rx": "8", "class": "line", "fill": "none",
                                     "stroke": INK[0], "stroke-dasharray": "4 3"})  # fmt: skip
    for way in ways:
        arrow(root, *way)
    for frame, place in zip(drawing.frames, layout.frames, strict=True):
        _label_frame(root, frame.says, place, ways)
    for spec, way in zip(drawing.arrows, ways, strict=True):
        if spec.says:
            _label_arrow(root, spec.says, way, turned=spec.side is not None)
    for name, _, spec_box in drawing.boxes():
        _draw_box(root, spec_box, layout.boxes[name])
    return ET.tostring(root)


def _draw_box(root: ET.Element, spec: Box, place: Place) -> None:
    """A box with its sign, its name, what it says and its small picture, from the top."""
    fill = FILLS[FILL_OF.get(spec.state) or ("step" if spec.kind == "step" else "given")]
    box(root, place.left, place.top, place.width, place.height, fill)
    named, said = lines_of(spec, place.width)
    used = LINE[NAME] * len(named) + LINE[SAYS] * len(said) + (GLYPH if spec.glyph else 0)
    y = place.top + (place.height - used) / 2
    sign = SIGN if spec.kind in SIGNED else 0.0
    if sign:
        start = place.center - (text_width(named[0], NAME, bold=True) + sign) / 2
        draw_sign(root, spec.kind, start, y + LINE[NAME] / 2)
    for number, line in enumerate(named):
        x = place.center + (sign / 2 if number == 0 else 0)
        text(root, line, x, y + 13, font_size=f"{NAME:g}", font_weight="bold")
        y += LINE[NAME]
    for line in said:
        text(root, line, place.center, y + 11, font_size=f"{SAYS:g}")
        y += LINE[SAYS]
    if spec.glyph:
        draw_glyph(root, spec.glyph, Place(place.left + PAD, y + 6, place.width - 2 * PAD, GLYPH - 8))


def _label_frame(root: ET.Element, words: str, place: Place, ways: list[list[Point]]) -> None:
    """What a frame says, inside its upper edge, as far left as no arrow crosses it."""
    width = text_width(words, SAYS)
    crossing = [x for way in ways for (x, y0), (x1, y1) in pairwise(way)
                if x == x1 and min(y0, y1) < place.top + 14 < max(y0, y1)]  # fmt: skip
    last = place.right - 8 - width
    starts = [place.left + 8, *(x + 6 for x in sorted(crossing))]
    free = [x for x in starts if x <= last and not any(x - 5 < other < x + width + 5 for other in crossing)]
    given = {"font_size": f"{SAYS:g}", "text_anchor": "start", "font_style": "italic", "class": "label"}
    text(root, words, free[0] if free else last, place.top + 14, **given)


def _label_arrow(root: ET.Element, words: str, way: list[Point], *, turned: bool) -> None:
    """What an arrow says: beside its last part, or along its side."""
    given = {"font_size": f"{SAYS:g}", "class": "label"}
    if turned:
        (x, y0), (_, y1) = way[1:3]
        shift = -5 if x < WIDTH / 2 else 12
        text(root, words, x + shift, (y0 + y1) / 2, transform=f"rotate(-90 {x + shift:g} {(y0 + y1) / 2:g})", **given)
        return
    x, y = way[-1]
    fits = x + 7 + text_width(words, SAYS) < WIDTH
    text(root, words, x + 7 if fits else x - 7, y - 10, text_anchor="start" if fits else "end", **given)
