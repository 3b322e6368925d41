"""The small pictures inside boxes, and the signs that tell networks and images apart without their color."""

from collections.abc import Callable
from xml.etree import ElementTree as ET

from bdlib.report.colors import METHOD, OTHERS
from bdlib.report.drawings.layout import Place
from bdlib.report.drawings.spec import Glyph
from bdlib.report.vector import tint

PLAIN, MARKED = "#767676", OTHERS[1]  # gray and orange, which also differ in lightness


def draw_glyph(parent: ET.Element, glyph: Glyph, place: Place) -> None:
    """Draw a small picture into `place`."""
    draw: dict[str, Callable[[ET.Element, Glyph, Place], None]] = {"bars": _bars, "maps": _maps, "curve": _curve}
    draw[glyph.kind](parent, glyph, place)


def draw_sign(parent: ET.Element, kind: str, x: float, y: float) -> None:
    """The sign of a network, layers that get narrower, or of images, two squares; 16 pixels wide, around `y`."""
    if kind == "network":
        for number, height in enumerate((14, 10, 6)):
            _rectangle(parent, x + 6 * number, y - height / 2, 4, height, METHOD[0])
    else:
        _rectangle(parent, x + 4, y - 7, 11, 11, "white")
        _rectangle(parent, x, y - 4, 11, 11, tint(METHOD[0], 0.4))


def _rectangle(parent: ET.Element, x: float, y: float, width: float, height: float, fill: str) -> None:
    ET.SubElement(parent, "rect", {"x": f"{x:g}", "y": f"{y:g}", "width": f"{width:g}", "height": f"{height:g}",
                                   "fill": fill, "stroke": "black", "stroke-width": "0.7"})  # fmt: skip


def _bars(parent: ET.Element, glyph: Glyph, place: Place) -> None:
    step = min(place.width / len(glyph.values), 16)
    left = place.center - step * len(glyph.values) / 2
    for number, value in enumerate(glyph.values):
        height = max(value * place.height, 1.5)
        fill = MARKED if number in glyph.marked else PLAIN
        _rectangle(parent, left + step * number + 1, place.bottom - height, step - 2, height, fill)


def _maps(parent: ET.Element, glyph: Glyph, place: Place) -> None:
    """Squares of three by three cells, as many as the values fill; a high value is dark."""
    cell = place.height / 3
    count = len(glyph.values) // 9
    left = place.center - (count * 3 * cell + (count - 1) * cell) / 2
    for number, value in enumerate(glyph.values):
        square, inside = divmod(number, 9)
        row, column = divmod(inside, 3)
        x = left + square * 4 * cell + column * cell
        _rectangle(parent, x, place.top + row * cell, cell, cell, tint(METHOD[0], value))


def _curve(parent: ET.Element, glyph: Glyph, place: Place) -> None:
    width = min(place.width, 180)
    step = width / (len(glyph.values) - 1)
    points = [(place.center - width / 2 + step * number, place.bottom - value * place.height)
              for number, value in enumerate(glyph.values)]  # fmt: skip
    way = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
    ET.SubElement(parent, "path", {"d": way, "fill": "none", "stroke": "black", "stroke-width": "1.4"})
    for number in glyph.marked:
        x, y = points[number]
        ET.SubElement(parent, "circle", {"cx": f"{x:g}", "cy": f"{y:g}", "r": "4", "fill": MARKED, "stroke": "black",
                                         "stroke-width": "0.8"})  # fmt: skip
