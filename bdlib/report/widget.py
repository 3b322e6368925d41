"""The playgrounds of the book as widgets for notebooks.

Needs anywidget, which the extra `widget` installs. The scripts are those of the book's pages: the same `mount`.
"""

from importlib.util import find_spec
from typing import Any

from bdlib.checks import ParameterError
from bdlib.files import read_text
from bdlib.folders import ROOT
from bdlib.report.playground import export, isolation

SCRIPTS = ROOT / "book" / "_static" / "playground"
NEEDS = {
    "trigger": ("images", "victim", "repaired", "twin"),
    "pruning": ("images", "victim", "masks"),
    "isolation": ("isolation",),
}  # what each playground computes with


def playground(kind: str = "trigger") -> Any:
    """A playground as an anywidget: attack three networks, prune a victim, or watch ABL isolate.

    `kind` is "trigger", "pruning" or "isolation". The first two train the quick profile's victims if they are not in
    the cache yet. Raises ParameterError for another kind, and ImportError, in one line, without anywidget.

    Example::

        playground("pruning")
    """
    if kind not in NEEDS:
        raise ParameterError(f"kind={kind!r}: must be one of {', '.join(NEEDS)}")
    if find_spec("anywidget") is None:
        raise ImportError('playgrounds in a notebook need anywidget: pip install "bdlib[widget]"')
    import anywidget
    import traitlets

    class Playground(anywidget.AnyWidget):  # type: ignore[misc]
        _esm = module()
        _css = read_text(SCRIPTS / "playground.css")
        data = traitlets.Dict().tag(sync=True)

    return Playground(data={"kind": kind, **data_of(kind)})


def module() -> str:
    """The scripts of the pages as one JavaScript module with anywidget's `render`."""
    names = "network networks parts bars trigger pruning isolation_view playground".split()
    scripts = [read_text(SCRIPTS / f"{name}.js") for name in names]
    render = "export default { render({ model, el }) { globalThis.bdlibPlayground.mount(el, model.get('data')); } };"
    return "\n".join([*scripts, render])


def data_of(kind: str) -> dict[str, Any]:
    """What a playground needs, by name, as the pages' scripts assign it. Raises KeyError for another kind."""
    if kind == "isolation":
        return {"isolation": export.read_script(read_text(isolation.PLACE))}
    made = {"images": export.images()}
    if kind == "trigger":
        return made | export.networks()
    return made | {"masks": export.masks(), "victim": export.network("victim", export.victim())}
