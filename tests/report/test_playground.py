"""The playgrounds' data: folded networks equal torch's, the recording fits the library, the pages hold what they need.

`make browser` tests the scripts themselves in a browser, which continuous integration does not have.
"""

import base64
import re

import numpy as np
import pytest
import torch

from bdlib.checks import ParameterError
from bdlib.experiments import notebooks
from bdlib.experiments.parameters import decisive
from bdlib.experiments.versions import versions
from bdlib.folders import ROOT
from bdlib.models import MODELS
from bdlib.report import playground, widget
from bdlib.report.playground import export, folding, isolation
from bdlib.training.filter_masks import batch_norms, prune

FOLDER = ROOT / "book" / "_static" / "playground"
PAGES = {"book/index.md": "trigger", "notebooks/attacks.ipynb": "trigger", "notebooks/rnp.ipynb": "pruning",
         "notebooks/abl.ipynb": "isolation"}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    """A network whose BatchNorm layers all do something, as those of a trained one."""
    torch.manual_seed(0)
    made = MODELS["small_resnet"](1, 10, (0.3,), (0.4,)).eval()
    for layer in batch_norms(made).values():
        for tensor in (layer.weight.data, layer.running_var):
            tensor.uniform_(0.5, 1.5)
        for tensor in (layer.bias.data, layer.running_mean):
            tensor.normal_(0, 0.3)
    return made


@pytest.fixture(scope="module")
def pixels():
    return torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(1))


def convolved(maps, layer):
    """A convolution with bias by its definition; a border of zeros for filters of three pixels."""
    size, stride = layer.weight.shape[-1], layer.stride
    padded = np.pad(maps, ((0, 0), (0, 0), (size // 2,) * 2, (size // 2,) * 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (2, 3))
    windows = windows[:, :, ::stride, ::stride]
    return np.einsum("nchwyx,fcyx->nfhw", windows, layer.weight, optimize=True) + layer.bias[:, None, None]


def forward(network, images):
    """The logits of a folded network, in plain array operations."""
    layers = {layer.name: layer for layer in network.convolutions}
    maps = convolved((images - network.mean) / network.std, layers["stem"])
    for block in [name.removesuffix("conv1") for name in layers if name.endswith("conv1")]:
        active = np.maximum(maps, 0)
        inner = np.maximum(convolved(active, layers[f"{block}conv1"]), 0)
        shortcut = layers.get(f"{block}shortcut")
        maps = convolved(inner, layers[f"{block}conv2"]) + (convolved(active, shortcut) if shortcut else active)
    return np.maximum(maps, 0).mean((2, 3)) @ network.head.T + network.head_bias


def test_a_folded_network_gives_torchs_logits(model, pixels):
    with torch.no_grad():
        wanted = model(pixels).numpy()
    assert np.abs(forward(folding.fold(model), pixels.double().numpy()) - wanted).max() < 1e-4
    assert np.ptp(wanted) > 0.1


def test_a_pruned_filter_gives_out_the_shift_of_its_batchnorm(model, pixels):
    """What the page does to a filter is what `prune` does; filters are counted as masks are."""
    folded, names = folding.fold(model), list(batch_norms(model))
    assert [len(layer.bias) for layer in folded.convolutions[1:]] == [
        len(n.weight) for n in batch_norms(model).values()
    ]
    masks = {name: torch.ones(len(norm.weight)) for name, norm in batch_norms(model).items()}
    for number, name in enumerate(names):
        masks[name][number] = 0
        layer = folded.convolutions[1 + number]
        layer.weight[number], layer.bias[number] = 0, layer.pruned[number]
    with torch.no_grad():
        wanted = prune(model, masks, 0.5)(pixels).numpy()
    assert np.abs(forward(folded, pixels.double().numpy()) - wanted).max() < 1e-4


def test_the_packed_network_holds_every_number_in_the_order_of_the_page(model):
    folded = folding.fold(model)
    content = folding.packed(folded)
    numbers = np.frombuffer(base64.b64decode(content["weights"]), "<f2").astype(float)
    stem = folded.convolutions[0].weight.transpose(0, 2, 3, 1).ravel()
    assert np.allclose(numbers[: len(stem)], stem, rtol=1e-3, atol=1e-4)
    assert np.allclose(numbers[-10:], folded.head_bias, rtol=1e-3, atol=1e-4)
    sizes = [layer["outputs"] * (layer["size"] ** 2 * layer["inputs"] + 2) for layer in content["layers"]]
    assert len(numbers) == sum(sizes) + folded.head.size + 10
    folded.head[0, 0] = 1e6
    with pytest.raises(ParameterError, match="1e[+]06, which is too large for half precision"):
        folding.packed(folded)


def test_other_networks_are_refused_in_one_line():
    with pytest.raises(ParameterError, match="model: must be a small_resnet for images of one channel, not Sequential"):
        folding.fold(MODELS["small_resnet"](3, 10, (0.3,) * 3, (0.4,) * 3))


def test_the_images_and_the_square_are_the_attackers():
    images = export.images()
    assert images["square"] == {"top": 25, "left": 25, "size": 3} and images["target"] == 0
    assert np.bincount(images["labels"]).tolist() == [20] * 10
    assert len(base64.b64decode(images["pixels"])) == 200 * 28 * 28
    assert export.read_script(export.script("images", images).decode()) == {**images, "names": list(images["names"])}


def test_the_recorded_isolation_is_of_todays_abl():
    """The same parameters and versions as a new recording would have, and counts that fit each other."""
    recorded = export.read_script(isolation.PLACE.read_text())
    assert isolation.PLACE.stat().st_size < 300_000
    assert (recorded["rates"], recorded["edges"]) == ([*isolation.RATES], [*isolation.EDGES])
    for attack, course in zip(isolation.ATTACKS, recorded["courses"], strict=True):
        changed = {"attack": attack, "isolation_epochs": 8, "epochs": 0, "unlearning_epochs": 0}
        parameters = notebooks.parameters("abl", "quick") | changed
        assert course["parameters"] == decisive(parameters) and course["versions"] == versions("abl", parameters)
        assert len(course["epochs"]) == 8 and course["images"] == 12_000
        for epoch in course["epochs"]:
            assert sum(epoch["poisoned"]) == course["poisoned"] == 1200 and sum(epoch["others"]) == 10_800
            assert epoch["isolated"] == [int(rate * 12_000 + 1e-9) for rate in isolation.RATES]
            assert all(hits <= count for hits, count in zip(epoch["hits"], epoch["isolated"], strict=True))
            hits = sum(course["is_poisoned"][number] for number in epoch["lowest"])
            assert hits <= epoch["hits"][0] and len(epoch["lowest"]) == isolation.SHOWN


def test_a_recording_at_small_scale_counts_as_the_library_does():
    course = isolation.course("badnets", isolation_epochs=1, data_fraction=0.05)
    assert course["images"] == 600 and course["poisoned"] == 60 and len(course["epochs"]) == 1
    assert course["epochs"][0]["isolated"][-1] == 120
    assert course["epochs"][0]["hits"][-1] <= 60


@pytest.mark.parametrize("page", PAGES)
def test_a_page_holds_its_playground_between_two_paragraphs(page):
    """A fallback without JavaScript is inside; what it needs is beside the script that the page names."""
    text = (ROOT / page).read_text()
    found = re.search(r'<div data-playground=\\?"(\w+)\\?">(.+?)</div>', text)
    assert found and found[1] == PAGES[page] and "JavaScript" in found[2]
    assert re.search(r'<script defer src=\\?"../_static/playground/playground.js\\?"></script>', text)
    loader = (FOLDER / "playground.js").read_text()
    needs = re.search(rf"{found[1]}: {{ code: (\[.*?\]), data: (\[.*?\]) }}", loader)
    assert needs
    assert all((FOLDER / f"{name}.js").is_file() for name in re.findall(r'"(\w+)"', needs[1]))
    assert tuple(re.findall(r'"(\w+)"', needs[2])) == widget.NEEDS[found[1]]
    assert {*widget.NEEDS[found[1]]} <= {*playground.NAMES, "isolation"}


def test_scripts_load_from_a_file():
    """A page that is opened as a file may neither fetch nor import."""
    for path in FOLDER.glob("*.js"):
        code = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
        assert not re.search(r"\bfetch\(|\bimport\b|\bexport\b|XMLHttpRequest", code), path.name


def test_the_widget_is_the_pages_scripts_and_says_what_it_needs(monkeypatch):
    source = widget.module()
    assert source.count("export default") == 1 and all(
        (FOLDER / f"{name}.js").read_text() in source for name in ("network", "trigger", "playground")
    )
    assert widget.data_of("isolation")["isolation"]["rates"][0] == 0.005
    with pytest.raises(ParameterError, match="kind='triggers': must be one of trigger, pruning, isolation"):
        widget.playground("triggers")
    monkeypatch.setattr(widget, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "bdlib\[widget\]"'):
        widget.playground("isolation")
