"""Where the boxes and frames of a drawing are, in pixels, and the lines that their words take."""

from dataclasses import dataclass

from bdlib.report.drawings.spec import Box, Drawing
from bdlib.report.vector import text_width, wrapped

WIDTH, MARGIN, LANE = 360.0, 8.0, 20.0  # of the drawing, at its edge, and of the way of an arrow along a side
GAP, ARROW, LABEL, FRAME = 12.0, 24.0, 15.0, 22.0  # between boxes of a row; between rows; more for words and frames
NAME, SAYS, PAD, SIGN = 13.0, 12.0, 8.0, 22.0  # sizes of letters; inside a box; room for a box's sign
LINE = {NAME: 17.0, SAYS: 15.0}  # from one line to the next
SPARE = 1.1  # a reader's font may be this much wider than ours
GLYPH = 42.0  # height of the small picture in a box
SIGNED = ("network", "images")


@dataclass(frozen=True)
class Place:
    """A rectangle of the drawing."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height

    @property
    def center(self) -> float:
        return self.left + self.width / 2


@dataclass(frozen=True)
class Layout:
    """All places of a drawing: of its boxes by name, of its frames in order, and its height."""

    boxes: dict[str, Place]
    frames: list[Place]
    height: float


def lines_of(box: Box, width: float) -> tuple[list[str], list[str]]:
    """The lines of a box's name and of what it says, for a box of this width."""
    room = (width - 2 * PAD) / SPARE
    named = wrapped(box.name, room - (SIGN if box.kind in SIGNED else 0), NAME, bold=True)
    return named, wrapped(box.says, room, SAYS)


def lay_out(drawing: Drawing) -> Layout:
    """Place everything, row by row from the top.

    Example: ``lay_out(load_drawing("nad")).height``
    """
    left, right = (MARGIN + LANE * sum(a.side == side for a in drawing.arrows) for side in ("left", "right"))
    boxes: dict[str, Place] = {}
    tops, bottoms, top = dict[int, float](), dict[int, float](), MARGIN
    for number, row in enumerate(drawing.rows):
        begin, end = _frames_at(drawing, number)
        top += FRAME * begin
        inset = 8.0 * sum(frame.first - 1 <= number <= frame.last - 1 for frame in drawing.frames)
        widths = _widths(drawing, number, WIDTH - left - right - 2 * inset)
        height = max(_height(box, width) for box, width in zip(row.values(), widths, strict=True))
        x = left + inset
        for key, width in zip(row, widths, strict=True):
            boxes[key] = Place(x, top, width, height)
            x += width + _gap(drawing, number)
        tops[number], bottoms[number] = top, top + height
        spoken = any(a.says and a.side is None and drawing.row_of(a.end) == number + 1 for a in drawing.arrows)
        top += height + ARROW + LABEL * spoken + 8 * end
    frames = [_frame(drawing, number, tops, bottoms, left, WIDTH - right) for number in range(len(drawing.frames))]
    return Layout(boxes, frames, max(bottoms.values()) + MARGIN + 8 * _frames_at(drawing, len(drawing.rows) - 1)[1])


def _frames_at(drawing: Drawing, row: int) -> tuple[int, int]:
    """How many frames begin above a row, and how many end below it."""
    return sum(f.first - 1 == row for f in drawing.frames), sum(f.last - 1 == row for f in drawing.frames)


def _frame(
    drawing: Drawing, number: int, tops: dict[int, float], bottoms: dict[int, float], left: float, right: float
) -> Place:
    """Where a frame is: around its rows, and inside the frames that hold it."""
    frame = drawing.frames[number]
    outer = [f for f in drawing.frames if f.first <= frame.first and f.last >= frame.last and f is not frame]
    inner = [f for f in drawing.frames if frame.first <= f.first and frame.last >= f.last and f is not frame]
    above = 1 + sum(f.first == frame.first for f in inner)
    below = 1 + sum(f.last == frame.last for f in inner)
    inset = 8.0 * len(outer)
    top = tops[frame.first - 1] - FRAME * above + 2
    bottom = bottoms[frame.last - 1] + 8.0 * below
    return Place(left + inset, top, right - left - 2 * inset, bottom - top)


def _gap(drawing: Drawing, row: int) -> float:
    """The room between two boxes of a row: more where an arrow leads from one to the other."""
    keys = drawing.rows[row].keys()
    return GAP + 12 * any(a.start in keys and a.end in keys for a in drawing.arrows)


def _widths(drawing: Drawing, row: int, room: float) -> list[float]:
    boxes = list(drawing.rows[row].values())
    room -= _gap(drawing, row) * (len(boxes) - 1)
    return [room * box.share / sum(b.share for b in boxes) for box in boxes]


def _height(box: Box, width: float) -> float:
    named, said = lines_of(box, width)
    return 2 * PAD + LINE[NAME] * len(named) + LINE[SAYS] * len(said) + (GLYPH if box.glyph else 0)


def overflowing(drawing: Drawing) -> list[str]:
    """The lines that would leave their box in a wider font: single long words, which no wrapping makes shorter."""
    places, wide = lay_out(drawing).boxes, []
    for key, _, box in drawing.boxes():
        named, said = lines_of(box, places[key].width)
        room = places[key].width - PAD
        sign = SIGN if box.kind in SIGNED else 0
        wide += [line for line in named if SPARE * text_width(line, NAME, bold=True) + sign > room]
        wide += [line for line in said if SPARE * text_width(line, SAYS) > room]
    return wide
