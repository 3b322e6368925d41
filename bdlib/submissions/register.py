"""The lines by which the rest of the library, the book and the tests know a new thing: each at its one place."""

import re
from dataclasses import dataclass
from pathlib import Path

from bdlib.checks import ParameterError
from bdlib.files import read_text


@dataclass(frozen=True)
class Edit:
    """Put `text` before what `anchor`, a regular expression of whole lines, finds: exactly one place in the file."""

    anchor: str
    text: str


def edits_of(kind: str, name: str, title: str) -> dict[str, list[Edit]]:
    """What has to be put into which file of a checkout, by its path."""
    place = {"book/_toc.yml": [Edit(r"^  - caption: Side by side$", f"      - file: notebooks/{name}\n")]}
    if kind == "defense":
        mapped = f'  {name}: {{name: "{title}", page: notebooks/{name}, stage: post-training, ' \
                 "branch: removal by tuning, takes: [network, clean images]}\n"  # fmt: skip
        fast = f'    "{name}": dict(epochs=2, learning_rate=0.05, batch_size=32, augmentation=None),\n'
        return place | {
            "bdlib/defenses/__init__.py": [
                Edit(r"^    # several stages, one after the other$", f'    "{name}": {name}.{name},\n'),
                Edit(r"^    (?P<imported>\w+),$|^\)$", f"    {name},\n"),
            ],
            "book/map.yaml": [Edit(r"^  strip:$", mapped)],
            "tests/test_promises.py": [Edit(r"^}  # fmt: skip\nCLASSES = ", fast)],
        }
    unmapped = {"tests/report/test_lifecycle.py": [Edit(r"^}  # UNMAPPED$", f'    "notebooks/{name}",\n')]}
    if kind == "attack":
        line = f'        "{name}",\n'
        return place | unmapped | {"bdlib/attacks/__init__.py": [Edit(r"^    \)\n}$", line)]}
    listed = [Edit(r"^\)  # CONTRIBUTED$", f'    "{name}",\n')]
    if kind == "dataset":
        return place | unmapped | {"bdlib/data/datasets.py": listed}
    roles = f'    "{name}": (("layer2", "layer3"), ("layer3.0",), ("head",)),\n'
    return place | unmapped | {
        "bdlib/models/__init__.py": listed,
        "tests/test_models.py": [Edit(r'^    "vgg19_bn": ', roles)],
    }  # fmt: skip


def edited(path: Path, edits: list[Edit]) -> str:
    """A file's text with the edits made. Raises ParameterError for a place that is not there once, FileError."""
    text = read_text(path)
    for edit in edits:
        found = list(re.finditer(edit.anchor, text, re.MULTILINE))
        if "imported" in edit.anchor:  # a list in the order of its names
            own = edit.text.strip(" ,\n")
            found = [match for match in found if match["imported"] is None or match["imported"] > own][:1]
        if len(found) != 1:
            rule = f"{path}: has {len(found)} places for a new line, not one"
            raise ParameterError(f"{rule}; put it in yourself: {edit.text.strip()}")
        start = found[0].start()
        text = text[:start] + edit.text + text[start:]
    return text
