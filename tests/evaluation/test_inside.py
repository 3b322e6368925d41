"""Tools that look inside a network: each by the check that its definition gives."""

import pytest
import torch
from torch import nn

from bdlib.checks import ParameterError
from bdlib.data.images import ImageSet
from bdlib.evaluation.activations import group_shares, most_exciting, neuron_activation, unit_activations
from bdlib.evaluation.apply_trigger import AllToOne, attacked_set
from bdlib.evaluation.confusion import confusion_matrix
from bdlib.evaluation.embedding import island_purity, tsne_map
from bdlib.evaluation.metrics import evaluate
from bdlib.evaluation.saliency import frequency_saliency, grad_cam, input_gradients, low_to_high, mass_inside
from bdlib.evaluation.shapley import cell_map, credit_inside, superpixel_shapley
from bdlib.models import predict


def identity(images):
    return images


class Probe(nn.Module):
    """Two maps, the image and its negative, and logits that weigh their pixels."""

    def __init__(self, weights):
        super().__init__()
        self.maps = nn.Conv2d(1, 2, 1, bias=False)
        self.maps.weight.data = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
        self.weights = weights  # (classes, 2, h, w)

    def forward(self, images):
        return torch.einsum("nchw,kchw->nk", self.maps(images), self.weights)


@pytest.fixture
def some():
    """Six images of one channel and 8 x 8 pixels."""
    generator = torch.Generator().manual_seed(0)
    return ImageSet(torch.randint(256, (6, 1, 8, 8), generator=generator).byte(), torch.arange(6) % 2)


def test_confusion_agrees_with_the_scores(backdoored, test_set, trigger):
    attacked = attacked_set(test_set, trigger, AllToOne(0))
    scores = evaluate(backdoored, test_set, trigger, target_label=0)
    clean = confusion_matrix(backdoored, test_set, classes=4)
    assert torch.allclose(clean.sum(1), torch.ones(4, dtype=torch.float64))
    counts = torch.bincount(test_set.labels).double()
    assert (counts @ clean.diag()).item() / len(test_set) == pytest.approx(scores.clean_accuracy)
    stamped = confusion_matrix(backdoored, attacked.triggered, classes=4)
    counts = torch.bincount(attacked.triggered.labels, minlength=4).double()
    assert stamped[0].sum() == 0  # no image of the target class is triggered
    assert (counts @ stamped[:, 0]).item() / counts.sum().item() == pytest.approx(scores.asr)
    assert (counts @ stamped.diag()).item() / counts.sum().item() == pytest.approx(scores.robust_accuracy)
    with pytest.raises(ParameterError, match="classes=3"):
        confusion_matrix(backdoored, test_set, classes=3)


def test_neurons_do_not_move_without_a_trigger(backdoored, test_set, trigger):
    still = neuron_activation(backdoored, test_set[:20], identity, "flatten")
    assert torch.equal(still.clean, still.triggered)
    moved = neuron_activation(backdoored, test_set[:20], trigger, "flatten")
    assert torch.equal(moved.clean, still.clean) and not torch.equal(moved.triggered, moved.clean)
    with pytest.raises(ParameterError, match="layer"):
        unit_activations(backdoored, test_set[:2], "nowhere")


def test_a_filter_is_summed_over_pixels_and_the_strongest_come_first(some):
    probe = Probe(torch.zeros(2, 2, 8, 8))
    units = unit_activations(probe, some, "maps")
    sums = (some.images.float() / 255).sum((1, 2, 3))
    assert torch.allclose(units, torch.stack([sums, -sums], 1), rtol=1e-5)
    assert torch.equal(most_exciting(units, 1, 6), sums.argsort())
    assert torch.equal(most_exciting(units, 1, 2), sums.argsort()[:2])
    assert torch.equal(unit_activations(probe, some, "maps", inputs=True)[:, 0], units[:, 0])


def test_shares_sum_to_one_and_all_images_show_the_base_rates():
    activations = torch.rand(40, 5, generator=torch.Generator().manual_seed(1))
    groups = torch.arange(40) % 4
    few = group_shares(activations, groups, 7, of=[0, 1, 2, 3])
    assert torch.allclose(few.sum(1), torch.ones(5))
    assert torch.allclose(group_shares(activations, groups, 40, of=[0, 1, 2, 3]), torch.full((5, 4), 0.25))
    with pytest.raises(ParameterError, match="count=41"):
        group_shares(activations, groups, 41, of=[0])


def test_grad_cam_leaves_out_what_a_network_ignores(some):
    weights = torch.zeros(2, 2, 8, 8)
    weights[0, 0, :4, :4] = 1.0  # class 0 reads one quadrant of the first map
    maps = grad_cam(Probe(weights), some, "maps", torch.zeros(6, dtype=torch.long))
    assert maps.shape == (6, 8, 8) and maps.min() >= 0 and torch.allclose(maps.amax((1, 2)), torch.ones(6))
    louder = grad_cam(Probe(5 * weights), some, "maps", torch.zeros(6, dtype=torch.long))
    assert torch.allclose(maps, louder, atol=1e-5)
    silent = grad_cam(Probe(weights), some, "maps", torch.ones(6, dtype=torch.long))
    assert silent.eq(0).all()  # nothing speaks for class 1, and zero is not divided by zero
    half = torch.zeros(8, 8, dtype=torch.bool)
    half[:4] = True
    assert torch.equal(mass_inside(silent, half), torch.full((6,), 0.5))
    assert torch.allclose(mass_inside(maps, half) + mass_inside(maps, ~half), torch.ones(6))
    with pytest.raises(ParameterError, match="layer='none'"):
        grad_cam(Probe(weights), some, "none", torch.zeros(6, dtype=torch.long))


def test_frequencies_of_a_mean_of_one_pixel_and_parseval(some):
    everywhere, one_pixel = torch.zeros(2, 2, 8, 8), torch.zeros(2, 2, 8, 8)
    everywhere[0, 0], one_pixel[0, 0, 2, 5] = 1.0, 1.0
    dc = frequency_saliency(input_gradients(Probe(everywhere), some))
    assert (dc[:, 4, 4] == 64).all() and dc.sum((1, 2)).allclose(torch.full((6,), 64.0))
    flat = frequency_saliency(input_gradients(Probe(one_pixel), some))
    assert flat.allclose(torch.ones(6, 8, 8)) and low_to_high(flat).allclose(torch.ones(6))
    slopes = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    assert frequency_saliency(slopes).square().sum((1, 2)).allclose(64 * slopes.square().sum((1, 2, 3)), rtol=1e-4)
    with pytest.raises(ParameterError, match="width=5"):
        low_to_high(flat, 5)


def test_credits_sum_to_the_gain_and_a_cell_without_effect_gets_none(some):
    weights = torch.zeros(2, 2, 8, 8)
    weights[0, 0, :4], weights[1, 0, :4, :4] = 0.1, 0.05
    probe, state = Probe(weights), torch.get_rng_state()
    credit = superpixel_shapley(probe, some, target=0, cells=4, orders=3, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    with torch.no_grad():
        gain = probe(some.images.float() / 255).softmax(1)[:, 0] - probe(torch.zeros(6, 1, 8, 8)).softmax(1)[:, 0]
    assert torch.allclose(credit.sum((1, 2)), gain, atol=1e-5)  # in every order, so for any number of them
    assert credit[:, 2:].abs().max() < 1e-6 < credit[:, :2].abs().min()
    assert torch.equal(credit, superpixel_shapley(probe, some, target=0, cells=4, orders=3, seed=5))
    upper = torch.zeros(4, 4, dtype=torch.bool)
    upper[:2] = True
    assert torch.allclose(credit_inside(credit, upper), torch.ones(6), atol=1e-4)
    assert cell_map((8, 8), 2)[0].tolist() == [0] * 4 + [1] * 4 and cell_map((8, 8), 2)[7, 7] == 3
    with pytest.raises(ParameterError, match="cells=3"):
        superpixel_shapley(probe, some, target=0, cells=3)


def test_the_map_repeats_and_an_island_is_one():
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(60, 5, generator=generator)
    members = torch.arange(60) < 20
    mixed, apart = features.clone(), features.clone()
    apart[members] += 50
    assert island_purity(apart, members) == 1 and 0.15 < island_purity(mixed, members) < 0.55
    mixed[:] = 0  # duplicates: an image is not its own neighbor
    assert 0 <= island_purity(mixed, members) <= 1
    places = tsne_map(apart, perplexity=10.0, seed=1)
    assert places.shape == (60, 2) and torch.equal(places, tsne_map(apart, perplexity=10.0, seed=1))
    assert island_purity(places, members) == 1
    with pytest.raises(ParameterError, match="perplexity=20"):
        tsne_map(features, perplexity=20.0)
    with pytest.raises(ParameterError, match="neighbors=60"):
        island_purity(features, members, neighbors=60)


def test_tools_leave_the_network_as_it_is(backdoored, test_set):
    before = {name: value.clone() for name, value in backdoored.state_dict().items()}
    backdoored.eval()
    grad_cam(backdoored, test_set[:4], "layer2", predict(backdoored, test_set[:4]))
    superpixel_shapley(backdoored, test_set[:2], target=0, cells=2, orders=1)
    input_gradients(backdoored, test_set[:4])
    assert all(torch.equal(value, before[name]) for name, value in backdoored.state_dict().items())
    assert not backdoored.training
