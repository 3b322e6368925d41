from copy import deepcopy

import pytest
import torch
from toy_task import STATISTICS

from bdlib.checks import ParameterError
from bdlib.models import MODELS, Normalize, default_layers, find_layer, seeded, tap
from bdlib.models.transformer import Attention, places


@pytest.mark.parametrize("name", MODELS)
def test_every_network_classifies_and_normalizes_inside(name):
    model = seeded(lambda: MODELS[name](3, 7, *STATISTICS), seed=0).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad(), tap(model, "normalize") as seen:
        assert model(images).shape == (2, 7)
    assert torch.allclose(seen["normalize"], (images - 0.5) / 0.25)


def test_equal_seeds_give_equal_weights_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, two, three = (seeded(lambda: MODELS["small_resnet"](1, 10, (0.5,), (0.5,)), seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    weights = [torch.cat([p.flatten() for p in m.parameters()]) for m in (one, two, three)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_small_resnet_is_as_large_as_it_says():
    model = MODELS["small_resnet"](1, 10, (0.5,), (0.5,))
    assert 0.25e6 < sum(p.numel() for p in model.parameters()) < 0.45e6
    filters = [m.out_channels for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert sum(filters) >= 650
    with torch.no_grad(), tap(model.eval(), "layer1", "layer2", "layer3") as seen:
        model(torch.rand(1, 1, 28, 28))
    assert [maps.shape[-1] for maps in seen.values()] == [14, 7, 4]


def test_the_small_networks_without_shortcuts_are_as_large_as_they_say():
    sizes = {name: MODELS[name](1, 10, (0.5,), (0.5,)) for name in ("small_vgg_bn", "small_vit")}
    counts = {name: sum(p.numel() for p in model.parameters()) for name, model in sizes.items()}
    assert 0.25e6 < counts["small_vgg_bn"] < 0.35e6 and 0.13e6 < counts["small_vit"] < 0.15e6
    with torch.no_grad(), tap(sizes["small_vgg_bn"].eval(), "layer1", "layer2", "layer3") as seen:
        sizes["small_vgg_bn"](torch.rand(1, 1, 28, 28))
    assert [maps.shape[-1] for maps in seen.values()] == [14, 7, 3]


def test_attention_is_torchs_own_and_places_tell_all_patches_apart():
    attention, images = Attention(16, 4), torch.rand(2, 9, 16)
    parts = attention.queries_keys_values(images).view(2, 9, 3, 4, 4).permute(2, 0, 3, 1, 4)
    theirs = torch.nn.functional.scaled_dot_product_attention(*parts).transpose(1, 2).reshape(2, 9, 16)
    assert torch.allclose(attention(images), attention.out(theirs), atol=1e-6)
    found = places(7, 5, 64, device=torch.device("cpu"))
    assert found.shape == (35, 64) and torch.cdist(found, found).add(torch.eye(35) * 9).min() > 0.5


def test_wrn_16_1_taps_are_the_papers():
    model = MODELS["wrn_16_1"](3, 10, *STATISTICS).eval()
    with torch.no_grad(), tap(model, "layer1", "layer2", "layer3") as seen:
        model(torch.rand(1, 3, 32, 32))
    assert [tuple(maps.shape[1:]) for maps in seen.values()] == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
    assert all(maps.min() < 0 for maps in seen.values())  # before the activation
    assert sum(p.numel() for p in model.parameters()) < 0.2e6


def test_an_unknown_layer_is_an_error_and_leaves_no_hook():
    model = MODELS["small_resnet"](3, 4, *STATISTICS)
    with (
        pytest.raises(ParameterError, match="layers='layer9': must be a layer; there are normalize, stem"),
        tap(model, "layer1", "layer9"),
    ):
        pass
    assert not model.get_submodule("layer1")._forward_hooks


ROLES = {
    "small_resnet": (("layer1", "layer2", "layer3"), ("layer3.0.conv1",), ("head",)),
    "wrn_16_1": (("layer1", "layer2", "layer3"), ("layer3.1.conv1",), ("head",)),
    "preact_resnet18": (("layer2", "layer3", "layer4"), ("layer4.1.conv1",), ("head",)),
    "narrow_preact_resnet18": (("layer2", "layer3", "layer4"), ("layer4.1.conv1",), ("head",)),
    "resnet18": (("layer2", "layer3", "layer4"), ("layer4.1.conv1",), ("fc",)),
    "vgg19_bn": (None, None, ("classifier",)),
    "small_vgg_bn": (("layer1", "layer2", "layer3"), ("layer3.conv2",), ("head",)),
    "small_vit": (("block2", "block3", "block4"), ("block4",), ("head",)),
}


@pytest.mark.parametrize("name", MODELS)
def test_networks_name_their_layers_also_when_copied_or_wrapped(name):
    model = deepcopy(MODELS[name](3, 4, *STATISTICS))
    wrapped = torch.nn.Sequential(torch.nn.Identity(), model)
    for role, layers in zip(("attention", "polarizer", "head"), ROLES[name], strict=True):
        if layers is None:
            with pytest.raises(
                ParameterError, match=r"^layer=None: must be named .* features, avgpool, classifier, norm"
            ):
                default_layers(model, role, parameter="layer")
        else:
            assert default_layers(model, role) == layers and all(find_layer(model, layer) for layer in layers)
            assert default_layers(wrapped, role) == tuple(f"1.{layer}" for layer in layers)


def test_the_error_for_an_unknown_layer_lists_what_is_beside_it():
    model = MODELS["small_resnet"](3, 4, *STATISTICS)
    beside = {
        "layer4.1.conv1": "normalize, stem, layer1, layer2, layer3, relu, pool, flatten, head",
        "layer3.1": "layer3.0",
        "layer3.0.conv3": "layer3.0.conv1, layer3.0.bn1, layer3.0.conv2, layer3.0.bn2, layer3.0.shortcut",
        "head.weights": "normalize, stem, layer1, layer2, layer3, relu, pool, flatten, head",
    }
    for layer, names in beside.items():
        with pytest.raises(ParameterError, match=rf"^layer='{layer}': must be a layer; there are {names}$"):
            find_layer(model, layer, parameter="layer")


def test_a_width_of_ones_own():
    model = MODELS["small_resnet"](3, 4, *STATISTICS, width=8)
    assert [find_layer(model, f"layer{n}.0.conv2").out_channels for n in (1, 2, 3)] == [8, 16, 32]


def test_normalize_moves_with_the_model():
    assert {name for name, _ in Normalize((0.5,), (0.5,)).named_buffers()} == {"mean", "std"}
