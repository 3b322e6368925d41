"""`bdlib new`: the files of a contribution, from the templates beside this file. They run as they are written."""

import keyword
import re
from pathlib import Path
from string import Template

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from bdlib.checks import ParameterError
from bdlib.files import write_whole
from bdlib.submissions.register import edited, edits_of

TEMPLATES = Path(__file__).parent / "templates"
ADDRESS = "https://github.com/backdoor-book/bdlib"
ROOMS = {"defense": "defenses", "attack": "attacks", "network": "models", "dataset": "data"}
BASELINE = """# The method: fine-tuning, the baseline
defense = "fine_tune"
epochs = 10
learning_rate = 0.1
milestone = 2  # from this epoch on, a tenth of the rate
batch_size = 64  # images"""
OWN = """# The method
strength = 0.0001  # of the term
epochs = 10
learning_rate = 0.05
batch_size = 64  # images"""
PAGES = {  # what the notebook of each kind has of its own
    "defense": {
        "parameters": OWN, "imports": "from bdlib.defenses.$name import $name, squared_size",
        "shown": "$name, squared_size", "method": "$title",
        "by_hand": 'layer = torch.nn.Linear(2, 1, bias=False)\nlayer.weight.data = torch.tensor([[1.0, 2.0]])\n'
                   'print("by hand ", 1.0 + 4.0)\nprint("library ", squared_size(layer).item())',
        "by_hand_output": "by hand  5.0\nlibrary  5.0\n"},
    "attack": {
        "attack": "$name", "parameters": BASELINE, "imports": "from bdlib.attacks.$name import Trigger",
        "shown": "Trigger", "method": "fine-tuning",
        "by_hand": 'rows = Trigger()(torch.zeros(1, 1, 8, 1)).flatten()\nprint("by hand ", [0.5, 0.0, 0.0, 0.0] * 2)\n'
                   'print("library ", rows.tolist())',
        "by_hand_output": "by hand  [0.5, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0]\n"
                          "library  [0.5, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0]\n"},
    "network": {
        "model": "$name", "parameters": BASELINE, "imports": "from bdlib.models.$name import $name",
        "shown": "$name", "method": "fine-tuning",
        "by_hand": 'network = $name(1, 10, (0.5,), (0.5,))\nprint("by hand ", 9 * (16 + 16 * 32 + 32 * 64))\n'
                   'filters = [p for p in network.parameters() if p.dim() == 4]\n'
                   'print("library ", sum(weights.numel() for weights in filters))',
        "by_hand_output": "by hand  23184\nlibrary  23184\n"},
    "dataset": {
        "dataset": "$name", "parameters": BASELINE, "imports": "from bdlib.data.$name import drawn, load",
        "shown": "load, drawn", "method": "fine-tuning",
        "by_hand": 'images = drawn(20, seed=0)\nprint("by hand ", [2] * 10)\n'
                   'print("library ", images.labels.bincount().tolist())',
        "by_hand_output": "by hand  [2, 2, 2, 2, 2, 2, 2, 2, 2, 2]\nlibrary  [2, 2, 2, 2, 2, 2, 2, 2, 2, 2]\n"},
}  # fmt: skip
COMMON = {"attack": "badnets", "model": "small_resnet", "dataset": "fashion", "address": ADDRESS}
SMOKE = "# A few hundred images and one or two epochs: shows that the chapter runs, not what it finds.\n"
QUICK = "# The notebook's own defaults are this profile.\nprofile: quick\n"
RECORDS = """# The runs behind the chapter's tables. Each line stands for all combinations of its lists.

headline:
  - {method: "$method", attack: [$attacks], seed: [0, 1, 2]}
"""


def write_new(kind: str, name: str, title: str, folder: Path, *, alone: bool = False) -> list[str]:
    """Write the files of a new `kind` of thing, and the lines that make it known; returns lines that say what was done.

    `folder` is inside a checkout of bdlib; anywhere else, or `alone`, it is one file and its test. Nothing is
    overwritten: raises ParameterError, before anything is written, for a name that is taken or cannot be one.

    Example: `write_new("defense", "abc", "ABC", Path.cwd())`
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{1,39}", name) or keyword.iskeyword(name):
        raise ParameterError(f"name={name!r}: must be lower-case letters, digits and _, and no word of Python")
    if not title.isprintable() or any(sign in title for sign in '"\\$#{}[]'):
        raise ParameterError(f"title={title!r}: must be text without quotes, brackets, $ and #")
    checkout = None if alone else _checkout(folder)
    if checkout is None:
        return _alone(kind, name, title, folder)
    files = _files(kind, name, title)
    edits = edits_of(kind, name, title)
    _check_free([checkout / path for path in files], name, checkout)
    changed = {path: edited(checkout / path, parts) for path, parts in edits.items()}
    for path, content in (files | changed).items():
        write_whole(checkout / path, content.encode())
    return [*(f"wrote {path}" for path in files), *(f"added a line to {path}" for path in edits), *_next(kind, name)]


def _checkout(folder: Path) -> Path | None:
    """The checkout of bdlib that holds a folder; None where there is none."""
    for place in (folder.absolute(), *folder.absolute().parents):
        if (place / "bdlib" / "defenses" / "__init__.py").is_file() and (place / "notebooks" / "params").is_dir():
            return place
    return None


def _check_free(paths: list[Path], name: str, checkout: Path) -> None:
    taken = [path for path in paths if path.exists()]
    taken += [path for room in (*ROOMS.values(), "mechanisms") for path in (checkout / "bdlib" / room).glob(f"{name}*")
              if path.stem == name]  # fmt: skip
    if taken:
        raise ParameterError(f"name={name!r}: is taken: {taken[0]} is there")


def _template(file: str, **words: str) -> str:
    return Template((TEMPLATES / f"{file}.txt").read_text(encoding="utf-8")).substitute(words)


def _alone(kind: str, name: str, title: str, folder: Path) -> list[str]:
    """One file and its test, for `bdlib evaluate`."""
    files = {folder / f"{name}.py": f"alone_{kind}", folder / f"test_{name}.py": f"alone_test_{kind}"}
    if taken := [path for path in files if path.exists()]:
        raise ParameterError(f"name={name!r}: is taken: {taken[0]} is there")
    for path, template in files.items():
        write_whole(path, _template(template, name=name, title=title).encode())
    functions = {"defense": "purify", "attack": "trigger", "network": "make"}
    command = f"bdlib evaluate {name}.py:{functions.get(kind)}"
    if kind == "dataset":
        command = f"python {name}.py images && bdlib evaluate my_defense.py:purify --on images --size 16"
    return [*(f"wrote {path.name}" for path in files), f"Next: pytest test_{name}.py; {command}"]


def _files(kind: str, name: str, title: str) -> dict[str, str]:
    """Every new file of a contribution, by its path in the checkout."""
    room = ROOMS[kind]
    words = {"name": name, "title": title, "members": ", ".join(sorted([name, "squared_size"]))}
    page = COMMON | {part: Template(text).substitute(words) for part, text in PAGES[kind].items()} | words
    attacks = name if kind == "attack" else "badnets, blended"
    smoke = SMOKE + "data_fraction: 0.05\nvictim_epochs: 2\nepochs: 1\n"
    smoke += "" if kind == "defense" else "milestone: 1\n"
    return {
        f"bdlib/{room}/{name}.py": _template(kind, **words),
        test_file(kind, name): _template(f"test_{kind}", **words),
        f"notebooks/{name}.ipynb": notebook(page),
        f"notebooks/params/smoke/{name}.yaml": smoke,
        f"notebooks/params/quick/{name}.yaml": QUICK,
        f"notebooks/params/quick/{name}.records.yaml": Template(RECORDS).substitute(
            method=page["method"], attacks=attacks
        ),
    }


def test_file(kind: str, name: str) -> str:
    """The path of a thing's test in the checkout."""
    return f"tests/{ROOMS[kind]}/test_{name}.py"


def notebook(words: dict[str, str]) -> str:
    """The notebook's text, from its template: cells begin with a line `%% kind tags`."""
    cells: list[nbformat.NotebookNode] = []
    for part in re.split(r"^%% ", _template("notebook", **words), flags=re.MULTILINE)[1:]:
        head, _, source = part.partition("\n")
        kind, *tags = head.split()
        source = source.rstrip("\n")
        if kind == "output":
            cells[-1].outputs = [new_output("stream", name="stdout", text=source + "\n")]
            cells[-1].execution_count = 1
            continue
        made = new_markdown_cell(source) if kind == "markdown" else new_code_cell(source)
        made.metadata.update({"tags": tags} if tags else {})
        made.id = f"cell-{len(cells)}"
        cells.append(made)
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
              "language_info": {"name": "python"}}  # fmt: skip
    return str(nbformat.writes(new_notebook(cells=cells, metadata=kernel))) + "\n"


def _next(kind: str, name: str) -> list[str]:
    """What is left to do by hand."""
    case = {"defense": f"defense/{name} record/{name}", "attack": f"attack/{name} record/{name}"}.get(
        kind, f"record/{name}"
    )
    return [
        f"It runs: pytest {test_file(kind, name)}; bdlib run {name} --profile smoke",
        f"Next: your code in bdlib/{ROOMS[kind]}/{name}.py; its claims in book/claims.yaml, before any run; "
        f"python tests/golden_cases.py --write {case}; make records; make test. See book/contribute/add_a_paper.md.",
    ]
