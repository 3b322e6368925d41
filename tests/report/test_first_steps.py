"""The page *Start here*: it runs, its exercises know right from wrong, its sliders move the picture."""

import json
import re
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch

from bdlib import load_dataset, load_victim
from bdlib.checks import ParameterError
from bdlib.data.images import sample
from bdlib.evaluation.metrics import evaluate
from bdlib.mechanisms.rnp import without_lowest
from bdlib.report import interactive
from bdlib.report.first_steps import FirstSteps, largest_allowed, look, weakened
from bdlib.report.interactive import check_answer, sliders
from bdlib.training.filter_masks import batch_norms

PAGE = Path(__file__).parents[2] / "book" / "start.ipynb"
CELLS = json.loads(PAGE.read_text(encoding="utf-8"))["cells"]
QUICK = {"attack": "badnets", "clean_images": 100, "filters_pruned": 10, "trigger_strength": 1.0, "seed": 0}


def source(cell):
    return "".join(cell["source"])


def tags(cell):
    return cell["metadata"].get("tags", [])


@pytest.fixture(scope="module")
def ran(request):
    """The names after all cells of the page, with fewer images, one step of the repair and the solutions as answers."""
    patch = pytest.MonkeyPatch()
    request.addfinalizer(patch.undo)
    patch.setattr("matplotlib_inline.backend_inline.set_matplotlib_formats", lambda *_, **__: None)
    prose = "\n".join(source(cell) for cell in CELLS if cell["cell_type"] == "markdown")
    solutions = iter(re.findall(r"```python\n(.*?)\n```", prose, re.DOTALL))
    space, said = {}, []
    for cell in CELLS:
        if cell["cell_type"] != "code" or "%pip" in source(cell):
            continue
        text = source(cell).replace("sample(test_set, 500)", "sample(test_set, 100)")
        text = text.replace("epochs = 80 // -(-len(clean) // 128)", "epochs = 1").replace(
            "range(0, 65, 4)", "range(0, 65, 32)"
        )
        if "parameters" in tags(cell):
            text += "".join(f"\n{name} = {value!r}" for name, value in QUICK.items())
        if "exercise" in tags(cell):
            first, rest = text.split("\n", 1)
            assert first.endswith("= None  # your answer")
            exec(f"{next(solutions)}\n{rest.replace('check_answer(', 'answer = check_answer(')}", space)
            said.append(space["answer"].data)
        else:
            exec(text, space)
    plt.close("all")
    return space, said


def test_the_page_runs_and_its_own_solutions_are_right(ran):
    space, said = ran
    assert len(said) == 2 and all(words.startswith("**Right:**") for words in said)
    assert space["before"].asr > 0.9 and len(space["clean"]) == 100
    assert space["settings"] == FirstSteps(**QUICK)


def test_its_parameters_are_the_checked_ones_and_its_first_values_the_defaults():
    cell = next(cell for cell in CELLS if "parameters" in tags(cell))
    values = {}
    exec(source(cell), values)
    assert {name: values[name] for name in asdict(FirstSteps())} == asdict(FirstSteps())
    for change, words in (({"attack": "sig"}, "attack='sig'"), ({"filters_pruned": 700}, "filters_pruned=700"),
                          ({"trigger_strength": 2.0}, "trigger_strength=2.0")):  # fmt: skip
        with pytest.raises(ParameterError, match=words):
            FirstSteps.of(values | change)
    with pytest.raises(ParameterError, match="sede: no such parameter"):
        FirstSteps.of(values | {"In": ["# Parameters\nsede = 3\n"]})


@pytest.fixture(scope="module")
def attacked():
    victim, trigger, target_label = load_victim("fashion", "badnets")
    masks = {name: torch.linspace(0, 1, len(norm.weight)) for name, norm in batch_norms(victim).items()}
    return victim, masks, sample(load_dataset("fashion")[1], 60), trigger, target_label


def test_a_weak_trigger_lies_between_the_image_and_the_attackers(attacked):
    *_, images, trigger, _ = attacked
    pixels = images.images[:4] / 255
    assert torch.equal(weakened(trigger, 0.0)(pixels), pixels)
    assert torch.allclose(weakened(trigger, 1.0)(pixels), trigger(pixels))
    assert torch.allclose(weakened(trigger, 0.5)(pixels), (pixels + trigger(pixels)) / 2)


def test_exactly_so_many_filters_are_pruned_and_the_victim_is_not_changed(attacked):
    victim, masks, images, trigger, target_label = attacked
    before = {name: value.clone() for name, value in victim.state_dict().items()}
    total = sum(len(mask) for mask in masks.values())
    for count in (0, 1, 7, total):
        pruned = without_lowest(victim, masks, count)
        zeros = sum(int((norm.weight == 0).sum()) for norm in batch_norms(pruned).values())
        assert zeros == count
    assert all(torch.equal(value, before[name]) for name, value in victim.state_dict().items())
    assert evaluate(without_lowest(victim, masks, total), images, trigger, target_label=target_label).asr in (0.0, 1.0)


def test_the_sliders_move_the_picture_and_words_take_their_place(attacked, monkeypatch):
    victim, masks, images, trigger, target_label = attacked
    seen = []

    def show(**values):
        seen.append(values)
        figure = look(victim, masks, images, trigger, target_label=target_label, **values)
        assert len(figure.axes) == 9  # eight images and the bars
        return figure

    both = sliders(show, filters_pruned=(10, 0, 64), trigger_strength=(1.0, 0.0, 1.0))
    first = both.children[2].value
    both.children[0].value, both.children[1].value = 20, 0.5
    assert first.startswith('<img alt="filters pruned 10, trigger strength 1"') and both.children[2].value != first
    assert not plt.get_fignums()  # nothing is left open, to be shown a second time
    assert seen[0] == {"filters_pruned": 10, "trigger_strength": 1.0}
    assert seen[-1] == {"filters_pruned": 20, "trigger_strength": 0.5}
    assert [slider.description for slider in both.children[:2]] == ["filters pruned", "trigger strength"]
    with pytest.raises(ParameterError, match="filters_pruned=70: must be from 0 to 64"):
        sliders(show, filters_pruned=(70, 0, 64))
    monkeypatch.setattr(interactive, "find_spec", lambda name: None)
    assert "OutputModel" not in {widget["model_name"] for widget in both.get_manager_state()["state"].values()}
    words = sliders(partial(show), filters_pruned=(10, 0, 64), trigger_strength=(1.0, 0.0, 1.0)).data
    assert "change `filters_pruned` and `trigger_strength` in section 1" in words


def test_an_answer_is_right_wrong_or_missing():
    assert check_answer(None, 0.5, hint="h").data.startswith("**No answer yet.**")
    assert check_answer(torch.tensor(0.5), 0.5, hint="h").data == "**Right:** 0.5."
    assert check_answer(0.6, 0.5, hint="Look again.").data == "**Not yet:** 0.6 is not the answer. Look again."
    assert largest_allowed({0: 0.9, 4: 0.88, 8: 0.84, 12: 0.86}, 0.05) == 12


def test_the_book_shows_it_without_the_state_of_its_sliders(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(PAGE.parents[1] / "scripts")
    import start_page

    content = json.loads(PAGE.read_text(encoding="utf-8"))
    content["metadata"]["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}
    (tmp_path / "start.ipynb").write_text(json.dumps(content))
    monkeypatch.setattr(start_page, "PLACE", tmp_path / "start.ipynb")
    assert json.loads(start_page.start_page())["metadata"].keys() == {"kernelspec", "language_info"}
    sys.modules.pop("start_page")
    shown = [source(cell) for cell in CELLS if "remove-cell" in tags(cell)]
    assert [("sliders(" in text, "%pip" in text) for text in shown] == [(False, True), (True, False)]
