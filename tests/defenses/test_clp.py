"""The bound beside one written out kernel by kernel, which layers belong together, and what pruning changes."""

from copy import deepcopy
from inspect import signature

import pytest
import torch
from torch import nn
from toy_task import STATISTICS

from bdlib.checks import ParameterError
from bdlib.defenses.clp import clp
from bdlib.defenses.clp.method import lipschitz_bounds, outliers, silence
from bdlib.defenses.clp.pairs import chained_pairs, registered_pairs
from bdlib.models import MODELS, seeded, tap
from bdlib.training.filter_masks import batch_norms
from bdlib.types import EventLog

COUNTS = {"small_resnet": 8, "resnet18": 20, "vgg19_bn": 16, "small_vgg_bn": 5, "preact_resnet18": 9,
          "narrow_preact_resnet18": 9, "wrn_16_1": 7}  # fmt: skip


def layer(inputs=3, outputs=6, size=3):
    """A convolution with BatchNorm behind it, whose numbers are all random."""
    torch.manual_seed(4)
    net = nn.Sequential(nn.Conv2d(inputs, outputs, size), nn.BatchNorm2d(outputs), nn.Flatten(), nn.LazyLinear(4))
    net[1].running_var.uniform_(0.5, 2)
    net[1].weight.data.normal_()
    net[1].bias.data.normal_()
    net(torch.rand(2, inputs, 32, 32))
    return net.eval()


def by_hand(convolution, norm):
    """The released code's loop: a singular value decomposition for each output channel."""
    values = []
    for j in range(len(norm.weight)):
        kernel = convolution.weight[j].reshape(convolution.weight.shape[1], -1)
        scaled = kernel * (norm.weight[j] / norm.running_var[j].sqrt()).abs()
        values.append(torch.linalg.svd(scaled).S.max())
    return torch.stack(values).double()


def test_the_bound_is_the_released_codes_and_the_paper_adds_batch_norms_epsilon(backdoored):
    net = layer()
    released = lipschitz_bounds(net, variant="released")["1"]
    assert torch.allclose(released, by_hand(net[0], net[1]).detach(), rtol=1e-5)
    ours = lipschitz_bounds(net)["1"]
    assert torch.all(ours < released) and torch.allclose(ours, released, rtol=1e-3)
    for name, bounds in lipschitz_bounds(backdoored, variant="released").items():
        pair = backdoored.get_submodule(chained_pairs(backdoored)[name]), batch_norms(backdoored)[name]
        assert torch.allclose(bounds, by_hand(*pair).detach(), rtol=1e-4)


def test_it_scales_with_kernel_slope_and_deviation():
    net = layer()
    net[1].eps = 0.0
    before = lipschitz_bounds(net)["1"]
    net[0].weight.data[0] *= -3
    net[1].weight.data[1] *= 5
    net[1].running_var[2] *= 4
    factors = torch.tensor([3, 5, 0.5, 1, 1, 1]).double()
    assert torch.allclose(lipschitz_bounds(net)["1"], before * factors)


def test_a_rescaled_kernel_with_refreshed_statistics_has_the_same_bound():
    net = layer()
    net[1].eps = 0.0
    before = lipschitz_bounds(net)["1"]
    net[0].weight.data /= 7
    net[1].running_var /= 49
    assert torch.allclose(lipschitz_bounds(net)["1"], before)


def test_of_one_number_it_is_its_size_and_it_is_at_most_the_frobenius_norm():
    net = layer(inputs=1, size=1)
    slope = net[1].weight.abs() / (net[1].running_var + net[1].eps).sqrt()
    assert torch.allclose(lipschitz_bounds(net)["1"], (net[0].weight.flatten().abs() * slope).double().detach())
    net = layer()
    slope = net[1].weight.abs() / (net[1].running_var + net[1].eps).sqrt()
    assert torch.all(lipschitz_bounds(net)["1"] <= net[0].weight.flatten(1).norm(dim=1) * slope + 1e-6)


def test_it_is_a_bound_of_what_a_channel_does_to_two_images():
    """Per patch of the image: the sum over places of a kernel is at most its spectral norm times the patch's length."""
    net, bounds = layer(size=5), lipschitz_bounds(layer(size=5))["1"]
    one, other = torch.rand(2, 50, 3, 5, 5)
    with torch.no_grad():
        change = (net[1](net[0](one)) - net[1](net[0](other))).flatten(1).abs()
    rank = 3  # of the kernel as a matrix: its Frobenius norm is at most sqrt(rank) times its spectral norm
    assert torch.all(change <= bounds * rank**0.5 * (one - other).flatten(1).norm(dim=1)[:, None] + 1e-5)


@pytest.mark.parametrize("name", COUNTS)
def test_the_layers_that_it_pairs_hand_on_the_very_same_tensor(name):
    device = "cpu" if "narrow" in name else "meta"  # numbers are needed only where a layer takes pooled maps
    with torch.device(device):
        model = MODELS[name](3, 4, *STATISTICS).eval()
    pairs = chained_pairs(model)
    assert len(pairs) == COUNTS[name]
    with torch.no_grad(), tap(model, *pairs, inputs=True) as taken, tap(model, *pairs.values()) as given:
        model(torch.rand(1, 3, 32, 32, device=device))
    for norm, convolution in pairs.items():
        if taken[norm].shape == given[convolution].shape:
            assert taken[norm] is given[convolution], norm
        else:  # pooled
            assert torch.equal(taken[norm], nn.functional.max_pool2d(given[convolution], 2)), norm


def test_the_released_order_mispairs_pre_activation_networks_alone():
    for name in ("small_resnet", "resnet18", "vgg19_bn", "small_vgg_bn"):
        with torch.device("meta"):
            model = MODELS[name](3, 4, *STATISTICS)
        assert registered_pairs(model) == chained_pairs(model)
    with torch.device("meta"):
        model = MODELS["preact_resnet18"](3, 4, *STATISTICS)
    chained, registered = chained_pairs(model), registered_pairs(model)
    wrong = {norm for norm in registered if registered[norm] != chained.get(norm)}
    assert len(registered) == 17 and len(wrong) == 8
    assert {n for n in wrong if "shortcut" in registered[n]} == {f"layer{i}.1.bn1" for i in (2, 3, 4)}


class InPlace(nn.Module):
    """Its second BatchNorm takes the tensor that a convolution gave, after a shortcut was added to it in place."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, images):
        kept = self.bn1(self.conv1(images))
        out = self.conv2(kept)
        out += kept
        return self.head(self.bn2(out).mean((2, 3)))


def test_a_tensor_changed_in_place_is_no_convolutions_output():
    assert chained_pairs(InPlace()) == {"bn1": "conv1"} and len(registered_pairs(InPlace())) == 2


def test_a_pruned_channel_is_silent_whatever_comes_in(backdoored):
    pruned = outliers(lipschitz_bounds(backdoored), 1.0)
    copy = silence(backdoored, pruned)
    assert any(channels.any() for channels in pruned.values())
    for name, channels in pruned.items():
        inner = torch.randn(5, len(channels), 4, 4) * 100
        assert not batch_norms(copy)[name](inner)[:, channels].any()
    before, after = backdoored.state_dict(), copy.state_dict()
    for name, value in after.items():
        layer, _, part = name.rpartition(".")
        if layer in pruned and part in ("weight", "bias"):
            assert torch.equal(value[~pruned[layer]], before[name][~pruned[layer]])
        else:
            assert torch.equal(value, before[name])


def test_a_higher_threshold_prunes_a_subset_and_none_of_few_channels():
    generator = torch.Generator().manual_seed(0)
    bounds = {"wide": torch.rand(200, generator=generator).double().exp(), "one": torch.ones(1).double()}
    low, high = (outliers(bounds, deviations)["wide"] for deviations in (0.5, 1.5))
    assert not (high & ~low).any() and 0 < high.sum() < low.sum()
    lone = {str(count): torch.eye(count)[0].double() for count in (4, 10, 11, 16)}
    assert [bool(channels.any()) for channels in outliers(lone, 3.0).values()] == [False, False, True, True]
    assert not outliers(bounds, 0.0)["one"].any()


def test_it_sees_no_image_and_tells_what_it_prunes(backdoored):
    assert [name for name in signature(clp).parameters if name in ("clean", "poisoned", "seed")] == []
    events = EventLog()
    pruned = clp(backdoored, threshold_deviations=1.5, on_event=events)
    silent = {name: norm.weight == 0 for name, norm in batch_norms(pruned).items()}
    assert all(torch.equal(silent[name], channels) for name, channels in events["pruned"].items())
    assert events["bounds"].keys() == events["pruned"].keys() == chained_pairs(backdoored).keys()


def test_it_prunes_what_the_released_loop_prunes(backdoored):
    """The released loop, written anew: it edits the weights on its way, in the order of the layers."""
    copy, convolution = deepcopy(backdoored), None
    for module in copy.modules():
        if isinstance(module, nn.Conv2d):
            convolution = module
        elif isinstance(module, nn.BatchNorm2d):
            bounds = by_hand(convolution, module).detach()
            channels = bounds > bounds.mean() + 2 * bounds.std()
            module.weight.data[channels], module.bias.data[channels] = 0, 0
    ours = clp(backdoored, threshold_deviations=2.0, variant="released")
    assert all(torch.equal(a, b) for a, b in zip(copy.state_dict().values(), ours.state_dict().values(), strict=True))


def flat(*layers):
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(4))


@pytest.mark.parametrize(
    ("build", "variant", "words"),
    [
        (lambda: seeded(lambda: MODELS["small_vit"](3, 4, *STATISTICS), seed=0), "paper", "has none"),
        (lambda: flat(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)), "paper", "needs BatchNorm2d layers behind convolutions"),
        (lambda: flat(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)), "released", "finds no convolution before 0"),
        (lambda: flat(nn.Conv2d(3, 4, 99), nn.AdaptiveMaxPool2d(1), nn.ReflectionPad2d(9), nn.BatchNorm2d(4)), "paper",
         "runs it on a blank image, and it takes none of 32, 28, 64, 96, 128, 224, 16, 8 pixels"),
    ],
)  # fmt: skip
def test_what_it_cannot_prune_is_one_line(build, variant, words):
    with pytest.raises(ParameterError, match=rf"\Amodel: [^\n]*{words}[^\n]*\Z"):
        clp(build(), variant=variant)


def test_weights_that_are_no_numbers_are_refused(backdoored):
    broken = deepcopy(backdoored)
    broken.layer2[0].conv1.weight.data[0] = torch.nan
    with pytest.raises(ParameterError, match=r"\Amodel: the weights of layer2.0.conv1 or layer2.0.bn1 are not finite"):
        clp(broken)
