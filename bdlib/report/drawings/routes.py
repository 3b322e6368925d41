"""The ways of the arrows of a drawing: straight down where that is possible, else with corners, or along a side."""

from bdlib.report.drawings.layout import LANE, MARGIN, WIDTH, Layout, Place
from bdlib.report.drawings.spec import Arrow, Drawing

Point = tuple[float, float]
TURN = 9.0  # below a row, where arrows turn


def routes(drawing: Drawing, layout: Layout) -> list[list[Point]]:
    """The points of each arrow, in the drawing's order; two points that follow one another share x or y."""
    down = [a for a in drawing.arrows if a.side is None and drawing.row_of(a.start) != drawing.row_of(a.end)]
    lanes = {side: [a for a in drawing.arrows if a.side == side] for side in ("left", "right")}
    ways = []
    for arrow in drawing.arrows:
        start, end = layout.boxes[arrow.start], layout.boxes[arrow.end]
        if arrow.side:
            number = next(i for i, other in enumerate(lanes[arrow.side]) if other is arrow)
            ways.append(_along_a_side(arrow, start, end, number))
        elif drawing.row_of(arrow.start) == drawing.row_of(arrow.end):
            y = start.top + start.height / 2
            ways.append([(start.right, y), (end.left, y)])
        else:
            ways.append(_down(arrow, start, end, down, layout))
    return ways


def _along_a_side(arrow: Arrow, start: Place, end: Place, number: int) -> list[Point]:
    """Out of a box, along a side of the drawing in a lane of its own, and into the other box."""
    shift = MARGIN + LANE * (number + 0.4)
    lane = shift if arrow.side == "left" else WIDTH - shift
    out, into = (start.left, end.left) if arrow.side == "left" else (start.right, end.right)
    y0, y1 = start.top + start.height / 2, end.top + end.height / 2
    return [(out, y0), (lane, y0), (lane, y1), (into, y1)]


def _down(arrow: Arrow, start: Place, end: Place, down: list[Arrow], layout: Layout) -> list[Point]:
    """From the lower edge of a box to the upper edge of one in the next row."""
    leaving = sorted((a for a in down if a.start == arrow.start), key=lambda a: layout.boxes[a.end].center)
    coming = sorted((a for a in down if a.end == arrow.end), key=lambda a: layout.boxes[a.start].center)
    x0, x1 = _port(start, leaving, arrow), _port(end, coming, arrow)
    if len(leaving) == 1 and _inside(x1, start) and (len(coming) > 1 or end.width <= start.width):
        x0 = x1
    elif len(coming) == 1 and _inside(x0, end):
        x1 = x0
    turn = start.bottom + TURN
    corners = [] if x0 == x1 else [(x0, turn), (x1, turn)]
    return [(x0, start.bottom), *corners, (x1, end.top)]


def _port(place: Place, arrows: list[Arrow], arrow: Arrow) -> float:
    """Where an arrow meets an edge: arrows share it in equal parts."""
    number = next(i for i, other in enumerate(arrows) if other is arrow)
    return place.left + place.width * (number + 1) / (len(arrows) + 1)


def _inside(x: float, place: Place) -> bool:
    return place.left + 8 <= x <= place.right - 8
