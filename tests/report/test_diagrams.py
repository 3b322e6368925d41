"""The diagram of a network with a layer inserted into it."""

import matplotlib.pyplot as plt
import pytest

from bdlib.models import MODELS
from bdlib.report.diagrams import network_diagram


@pytest.mark.parametrize(
    ("model", "layer", "stages", "steps"),
    [("small_resnet", "layer3.0.conv1", ["layer3", "relu"], ["polarizer", "conv1", "bn1"]),
     ("preact_resnet18", "layer4.1.conv1", ["layer4", "bn"], ["bn1", "polarizer", "conv1"]),
     ("small_resnet", "pool", ["relu", "polarizer", "pool"], None)],
)  # fmt: skip
def test_the_diagram_names_the_networks_own_layers_in_their_order(model, layer, stages, steps):
    network = MODELS[model](1, 4, (0.5,), (0.2,))
    texts = network_diagram(network, layer, inserted="polarizer").axes[0].texts
    plt.close("all")
    rows = {}  # height -> names from left to right
    for text in texts:
        if text.get_text() and not hasattr(text, "arrow_patch"):
            rows.setdefault(text.get_position()[1], []).append((text.get_position()[0], text.get_text()))
    names = {height: " ".join(name for _, name in sorted(row)) for height, row in rows.items()}
    assert " ".join(stages) in names[2.0]
    if steps:
        assert names[1.0].startswith(" ".join(steps)) and names[0.0] == "shortcut"
    else:
        assert names.keys() == {2.0}
