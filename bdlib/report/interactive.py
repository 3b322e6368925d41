"""Parts of a notebook that answer: sliders, and words on the answers to exercises."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, SupportsFloat

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from bdlib.checks import ParameterError
from bdlib.report.figures import html_image

WITHOUT_WIDGETS = (
    "The sliders need ipywidgets (`pip install ipywidgets`). Without it, change {names} in section 1 and run the "
    "notebook again."
)


def sliders(show: Callable[..., Figure], **ranges: tuple[float, float, float]) -> object:
    """A slider for each keyword of `show`, given as (start, smallest, largest); words where ipywidgets is missing.

    Whole numbers give a slider of whole numbers, others one of twenty steps. `show` draws the figure below the sliders,
    at first and whenever one is let go. The figure is a picture in the page, not a widget of outputs: that one makes
    nbclient, which runs the page for the book, now and then wait for an answer for ever. Raises ParameterError for a
    start that is not between the two.

    Example: ``sliders(look_at, filters_pruned=(10, 0, 64), trigger_strength=(1.0, 0.0, 1.0))``
    """
    from IPython.display import Markdown

    for name, (start, smallest, largest) in ranges.items():
        if not smallest <= start <= largest:
            raise ParameterError(f"{name}={start}: must be from {smallest} to {largest}")
    if find_spec("ipywidgets") is None:
        return Markdown(WITHOUT_WIDGETS.format(names=" and ".join(f"`{name}`" for name in ranges)))
    import ipywidgets

    controls = {name: _slider(name, *values) for name, values in ranges.items()}
    picture = ipywidgets.HTML()

    def draw(_change: object = None) -> None:
        figure = show(**{name: control.value for name, control in controls.items()})
        alt = ", ".join(f"{control.description} {control.value:g}" for control in controls.values())
        picture.value = html_image(figure, alt)
        plt.close(figure)

    for control in controls.values():
        control.observe(draw, names="value")
    draw()
    return ipywidgets.VBox([*controls.values(), picture])


def _slider(name: str, start: float, smallest: float, largest: float) -> Any:
    """One slider, named as the keyword, with a blank for each underscore."""
    import ipywidgets

    whole = all(isinstance(value, int) for value in (start, smallest, largest))
    kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
    return kind(value=start, min=smallest, max=largest, step=1 if whole else (largest - smallest) / 20,
                description=name.replace("_", " "), continuous_update=False, style={"description_width": "9em"},
                layout={"width": "32em"})  # fmt: skip


def check_answer(given: SupportsFloat | None, right: float, *, hint: str, tolerance: float = 0.005) -> object:
    """Words on an answer to an exercise: right, not given yet (None), or wrong, with the `hint`.

    Example: ``check_answer(my_asr, before.asr, hint="Take the mean.")``
    """
    from IPython.display import Markdown

    if given is None:
        return Markdown("**No answer yet.** Replace `None` and run the cell again.")
    if abs(float(given) - right) <= tolerance:
        return Markdown(f"**Right:** {float(given):.4g}.")
    return Markdown(f"**Not yet:** {float(given):.4g} is not the answer. {hint}")
