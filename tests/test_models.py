import pytest
import torch
from conftest import STATISTICS

from bdlib.models import MODELS, Normalize, seeded, tap


@pytest.mark.parametrize("name", MODELS)
def test_every_network_classifies_and_normalises_inside(name):
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


def test_wrn_16_1_taps_are_the_papers():
    model = MODELS["wrn_16_1"](3, 10, *STATISTICS).eval()
    with torch.no_grad(), tap(model, "layer1", "layer2", "layer3") as seen:
        model(torch.rand(1, 3, 32, 32))
    assert [tuple(maps.shape[1:]) for maps in seen.values()] == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
    assert all(maps.min() < 0 for maps in seen.values())  # before the activation
    assert sum(p.numel() for p in model.parameters()) < 0.2e6


def test_an_unknown_layer_is_an_error_and_leaves_no_hook():
    model = MODELS["small_resnet"](3, 4, *STATISTICS)
    with pytest.raises(AttributeError, match="layer9"), tap(model, "layer1", "layer9"):
        pass
    assert not model.get_submodule("layer1")._forward_hooks


def test_normalise_moves_with_the_model():
    assert {name for name, _ in Normalize((0.5,), (0.5,)).named_buffers()} == {"mean", "std"}
