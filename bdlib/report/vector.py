"""What the book's drawn pictures share: boxes, words, arrows, and colors that hold on a white and on a dark page.

`lifecycle_picture` (the map) and `drawings` (one picture of each method) are SVG inside the page, made of these parts.
Boxes keep their pale fill and black words everywhere; ground and ink outside them follow the theme of the page.
"""

from functools import cache
from xml.etree import ElementTree as ET

from matplotlib import get_data_path
from PIL import ImageFont

from bdlib.report.colors import MEANINGS, SECOND

FONT = "'DejaVu Sans',Verdana,sans-serif"  # Verdana is as wide; what else a reader may have is narrower


def tint(color: str, share: float) -> str:
    """A color mixed with white, as #rrggbb: `share` 1 is the color itself, 0 is white.

    >>> tint("#0072B2", 0.5)
    '#80b8d8'
    """
    parts = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - share * (255 - part)):02x}" for part in parts)


INK, GROUND = ("#000000", "#e6e6e6"), ("#ffffff", "#14181e")  # on a light page, on a dark one
PAGE = tuple(f"var(--pst-color-background,{color})" for color in GROUND)  # the book's own, where there is a book
FILLS = {"given": "#ffffff", "step": tint(SECOND[0], 0.35), "defense": tint(SECOND[0], 0.6),
         "result": tint(MEANINGS["clean"], 0.28), "attack": tint(MEANINGS["triggered"], 0.6),
         "bad": tint(MEANINGS["triggered"], 0.4), "empty": "#eeeeee"}  # fmt: skip
DARK = "html[data-theme=dark],html[theme=dark],body[data-jp-theme-light=false],body.vscode-dark"  # book, Colab, Jupyter


def style(identity: str, extra: str = "") -> str:
    """The rules of one picture: its font, and ground and ink by the page's theme."""
    dark = ",".join(f"{theme} #{identity}" for theme in DARK.split(","))
    return (
        f"#{identity}{{width:100%;height:auto;font-family:{FONT};"
        f"--ink:{INK[0]};--ground:{PAGE[0]}}}{dark}{{--ink:{INK[1]};--ground:{PAGE[1]}}}"
        f"#{identity} .ground{{fill:var(--ground)}}#{identity} .line{{stroke:var(--ink);fill:none;stroke-width:1.2}}"
        f"#{identity} .head,#{identity} .label{{fill:var(--ink)}}"
        f"#{identity} .label{{stroke:var(--ground);stroke-width:3;paint-order:stroke}}{extra}"
    )


def picture(identity: str, title: str, words: str, rules: str, *, role: str = "img") -> ET.Element:
    """An empty SVG picture with its title and its description in words; `fit` gives it its size."""
    drawing = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "id": identity, "role": role,
                                 "aria-labelledby": f"{identity}-title {identity}-words"})  # fmt: skip
    ET.SubElement(drawing, "title", {"id": f"{identity}-title"}).text = title
    ET.SubElement(drawing, "desc", {"id": f"{identity}-words"}).text = words
    ET.SubElement(drawing, "style").text = rules
    ET.SubElement(drawing, "rect", {"class": "ground", "fill": GROUND[0]})
    return drawing


def fit(drawing: ET.Element, width: float, height: float) -> None:
    """Give a picture, and the ground that lies under it, its size in pixels."""
    drawing.set("viewBox", f"0 0 {width:g} {height:g}")
    ground = drawing.find("rect")
    assert ground is not None
    ground.set("width", f"{width:g}")
    ground.set("height", f"{height:g}")


def box(parent: ET.Element, left: float, top: float, width: float, height: float, fill: str) -> ET.Element:
    """A rectangle with round corners and a thin black edge."""
    return ET.SubElement(parent, "rect", {"x": f"{left:g}", "y": f"{top:g}", "width": f"{width:g}",
                                          "height": f"{height:g}", "rx": "6", "fill": fill, "stroke": "black",
                                          "stroke-width": "0.8"})  # fmt: skip


def text(parent: ET.Element, words: str, x: float, y: float, **attributes: str) -> ET.Element:
    """One line of words, by default centered on `x` and black; `y` is where its letters stand."""
    given = {"x": f"{x:g}", "y": f"{y:g}", "text-anchor": "middle", "fill": "black"}
    line = ET.SubElement(parent, "text", given | {name.replace("_", "-"): value for name, value in attributes.items()})
    line.text = words
    return line


def arrow(parent: ET.Element, *points: tuple[float, float]) -> None:
    """A line through the points, which are joined along the axes, with a head at the last."""
    (x0, y0), (x1, y1) = points[-2:]
    along = ((x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0))
    stop = (x1 - 5 * along[0], y1 - 5 * along[1])
    way = "M" + "L".join(f"{x:g} {y:g}" for x, y in (*points[:-1], stop))
    ET.SubElement(parent, "path", {"d": way, "class": "line", "fill": "none", "stroke": INK[0]})
    base = [(x1 - 7 * along[0] + side * along[1], y1 - 7 * along[1] + side * along[0]) for side in (-4, 4)]
    head = "L".join(f"{x:g} {y:g}" for x, y in (base[0], (x1, y1), base[1]))
    ET.SubElement(parent, "path", {"d": f"M{head}Z", "class": "head", "fill": INK[0]})


@cache
def _font(bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/{name}", 100)


def text_width(words: str, size: float, *, bold: bool = False) -> float:
    """How wide a line of words is in pixels, in DejaVu Sans of this size."""
    return _font(bold).getlength(words) * size / 100


def wrapped(words: str, width: float, size: float, *, bold: bool = False) -> list[str]:
    """The words in lines that are at most `width` pixels wide; a single word may be wider."""
    lines: list[str] = []
    for word in words.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size, bold=bold) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
