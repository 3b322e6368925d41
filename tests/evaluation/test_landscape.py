"""Planes, curvature and ways between networks: against closed forms."""

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, nn

from bdlib.checks import ParameterError
from bdlib.data.images import ImageSet
from bdlib.evaluation.landscape import between, hessian_eigenvalue, loss_at, loss_plane, random_direction


@pytest.fixture(scope="module")
def images():
    generator = Generator().manual_seed(0)
    pixels = torch.randint(256, (30, 1, 2, 2), generator=generator).byte()
    return ImageSet(pixels, torch.randint(3, (30,), generator=generator))


@pytest.fixture(scope="module")
def linear():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False))
    model[1].weight.data = torch.randn(3, 4, generator=Generator().manual_seed(1))
    return model


def test_the_largest_eigenvalue_of_a_linear_softmax_model_is_the_dense_one(linear, images):
    inputs = images.images.flatten(1).double() / 255

    def loss(weights):
        return F.cross_entropy(inputs @ weights.T, images.labels)

    dense = torch.autograd.functional.hessian(loss, linear[1].weight.detach().double()).reshape(12, 12)
    largest = torch.linalg.eigvalsh(dense)[-1].item()
    assert hessian_eigenvalue(linear, images, tolerance=1e-4) == pytest.approx(largest, rel=1e-3)
    assert torch.trace(dense).item() >= largest  # the loss is convex here
    linear.requires_grad_(False)
    with pytest.raises(ParameterError, match="no weights"):
        hessian_eigenvalue(linear, images)
    linear.requires_grad_(True)


def test_the_middle_of_the_plane_is_the_loss_and_the_weights_stay(backdoored, test_set):
    some, before = test_set[:20], {k: v.clone() for k, v in backdoored.state_dict().items()}
    plane = loss_plane(backdoored, some, [-0.5, 0.0, 0.5], seed=4)
    assert plane[1, 1].item() == pytest.approx(loss_at(backdoored, some, {}, 0.0), rel=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in backdoored.state_dict().items())
    generator = Generator().manual_seed(4)
    one, other = random_direction(backdoored, generator), random_direction(backdoored, generator)
    assert plane[2, 1].item() == pytest.approx(loss_at(backdoored, some, one, 0.5), rel=1e-4)
    assert plane[1, 2].item() == pytest.approx(loss_at(backdoored, some, other, 0.5), rel=1e-4)
    for name, rows in one.items():
        weights = dict(backdoored.named_parameters())[name].detach()
        assert torch.allclose(rows.flatten(1).norm(dim=1), weights.flatten(1).norm(dim=1), rtol=1e-4)
    joined = [torch.cat([each[name].flatten() for name in one]) for each in (one, other)]
    assert F.cosine_similarity(*joined, dim=0).abs() < 0.05


def test_the_ends_of_the_way_are_the_networks(backdoored, make_model):
    start, end = make_model(), backdoored
    for share, network in ((0.0, start), (1.0, end)):
        moved = between(start, end, share)
        assert all(torch.equal(moved[name], value) for name, value in network.state_dict().items())
    with pytest.raises(ParameterError, match="same weights"):
        between(nn.Linear(2, 2), nn.Linear(2, 3), 0.5)
