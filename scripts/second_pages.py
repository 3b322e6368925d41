"""The second page of a chapter that was also run at CIFAR-10: what another scale changes, and nothing else.

The page is made from the executed notebook in results/cifar/. It leaves out the sections that say the same at every
scale. Where the chapter reads runs that nobody plans at CIFAR-10, a line takes the place of an empty table or figure.
"""

import ast
import json
import re
from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

SAME_AT_EVERY_SCALE = re.compile(
    r"Set-up|by hand|The method|Ten attacks|Three baselines|depends on|Paper versus|What the eye|Exercises|"
    r"Recap|Quiz|Where to go next"
)
# The text of an output, in which only the link to a built page leads anywhere.
UNPLANNED = "*Not run at CIFAR-10. [The chapter](../../notebooks/{paper}.html) shows these runs at the quick scale.*"
Cell = dict[str, Any]


def second_page(content: bytes, paper: str, planned: Collection[str]) -> bytes:
    """The page made from a notebook executed at CIFAR-10, to lie in results/cifar/ as the notebook does.

    `planned` are the studies of `paper` at that profile. The page has its own title, and no labels, which would be
    those of the chapter.
    """
    notebook = json.loads(content)
    chapter = f"../../notebooks/{paper}.ipynb"
    cells = [part for cell in notebook["cells"] for part in at_headings(cell)]
    unplanned = unplanned_outputs(cells, paper, planned)
    for cell in (cells[number] for number in unplanned):
        text = UNPLANNED.format(paper=paper)
        cell["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": {"text/markdown": text}}]
        cell["metadata"].pop("mystnb", None)  # a figure's caption
    title = cells[0]["source"].splitlines()[0].split(":")[0]
    note = (
        f"This is [the chapter's notebook]({chapter}) as it ran at CIFAR-10 (profile `cifar`). The victim is one of "
        "[the zoo](../../book/zoo.md). Ideas, code, ablations and exercises are on the chapter's own page. Where the "
        "text speaks of the quick profile and its small network, it means that page."
    )
    first = {"cell_type": "markdown", "metadata": {}, "source": f"{title} at CIFAR-10\n\n{note}"}
    page = [first, *(relocated(cell) for cell in kept(cells))]
    notebook["cells"] = [{**cell, "id": f"{paper}-cifar-{number}"} for number, cell in enumerate(page)]
    return json.dumps(notebook).encode()


def at_headings(cell: Cell) -> list[Cell]:
    """A cell of text cut before each heading of the second level; code as it is. Labels are gone, sources are text."""
    source = "".join(cell["source"])
    if cell["cell_type"] != "markdown":
        cell["metadata"].get("mystnb", {}).get("figure", {}).pop("name", None)
        return [{**cell, "source": source}]
    text = "\n".join(line for line in source.splitlines() if not re.fullmatch(r"\([\w-]+\)=", line))
    cuts = [0, *(found.start() for found in re.finditer(r"^## ", text, re.M) if found.start()), len(text)]
    return [{**cell, "source": text[start:end].strip("\n")} for start, end in pairwise(cuts)]


def kept(cells: Sequence[Cell]) -> list[Cell]:
    """The cells of the sections that another scale changes. What stands before the first section is the chapter's."""
    keep, chosen = False, []
    for cell in cells:
        if cell["cell_type"] == "markdown" and cell["source"].startswith("## "):
            keep = not SAME_AT_EVERY_SCALE.search(cell["source"].splitlines()[0])
        chosen += [cell] if keep else []
    return chosen


def unplanned_outputs(cells: Sequence[Cell], paper: str, planned: Collection[str]) -> list[int]:
    """The positions of the cells of code whose outputs rest on a study that is not planned.

    Follows the names that such a study is given through the statements of the notebook.
    """
    stale: set[str] = set()
    found = []
    for number, cell in enumerate(cells):
        if cell["cell_type"] != "code" or "%" in cell["source"]:
            continue
        rests = False
        for statement in ast.parse(cell["source"]).body:
            nodes = list(ast.walk(statement))
            names = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
            given = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
            is_stale = bool(names & stale) or any(reads_unplanned(node, paper, planned) for node in nodes)
            stale = stale | given if is_stale else stale - given
            rests = rests or is_stale
        if rests and cell["outputs"]:
            found.append(number)
    return found


def reads_unplanned(node: ast.AST, paper: str, planned: Collection[str]) -> bool:
    """Whether a node is `load_study(paper, profile, name)` with a name that is not planned."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load_study"):
        return False
    whose, profile, name = node.args
    at_this_profile = isinstance(profile, ast.Name)  # not "quick", written out
    own = isinstance(whose, ast.Constant) and whose.value == paper
    return at_this_profile and own and isinstance(name, ast.Constant) and name.value not in planned


def relocated(cell: Cell) -> Cell:
    """A cell whose links, written for notebooks/, lead to the same pages from results/cifar/."""
    if cell["cell_type"] != "markdown":
        return cell
    text = re.sub(r"\]\((?=[\w-]+\.ipynb)", "](../../notebooks/", cell["source"].replace("](../", "](../../"))
    return {**cell, "source": text}


def with_second_pages(toc: str, papers: Sequence[str]) -> str:
    """The table of contents with the second pages below their chapters."""
    for paper in papers:
        line = f"      - file: notebooks/{paper}\n"
        toc = toc.replace(line, f"{line}        sections:\n          - file: results/cifar/{paper}\n")
    return toc


def second_pages(results: Path) -> list[Path]:
    """The notebooks executed at CIFAR-10 that a book of another profile shows beside its own."""
    return sorted((results / "cifar").glob("*.ipynb"))
