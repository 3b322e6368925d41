"""One drawing of each method: what goes in, what is done with it, what comes out.

A file in `methods/`, named by the method's chapter, says which boxes, arrows and frames there are; the rest is code.
The drawing is made when a chapter's cell runs. So a notebook opened alone, in Colab for example, shows it too, and no
picture is kept that could get out of date. It is SVG in the page: its words can be searched and are read aloud, and it
follows the page's dark theme.
"""

from html import escape

from bdlib.report.drawings.paint import paint
from bdlib.report.drawings.spec import drawn_methods, load_drawing

__all__ = ["drawing_html", "drawing_svg", "drawn_methods", "load_drawing", "method_drawing"]


def drawing_svg(key: str) -> bytes:
    """The drawing of a method as an SVG file, by the key of its chapter. Raises ParameterError for an unknown key.

    >>> drawing_svg("nad").startswith(b"<svg")
    True
    """
    return paint(load_drawing(key), key)


def drawing_html(key: str) -> str:
    """The drawing of a method with its caption, as HTML. Raises ParameterError for an unknown key."""
    caption = escape(" ".join(load_drawing(key).caption.split()))
    picture = drawing_svg(key).decode()
    words = f'<figcaption style="max-width:480px;margin:0.5em auto">{caption}</figcaption>'
    return f'<figure class="method-drawing" style="margin:1em 0">{picture}{words}</figure>'


def method_drawing(key: str) -> object:
    """The drawing of a method, as a notebook shows it. Raises ParameterError for an unknown key.

    Example: ``method_drawing("nad")`` as the last line of a cell
    """
    from IPython.display import HTML

    return HTML(drawing_html(key))
