"""The hypergradient in closed form, the perturbation step by step, and the released loop written anew."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from toy_task import toy

from bdlib.data.images import batches
from bdlib.defenses.i_bau import i_bau
from bdlib.defenses.i_bau.hypergradient import hypergradient
from bdlib.defenses.i_bau.method import (
    _descend,
    inner_loss,
    outer_loss,
    perturbed_count,
    project,
    universal_perturbation,
)
from bdlib.types import Batch, EventLog


def quadratic(step):
    """Inner loss d'Ad / 2 - d'B theta, outer loss ||d - c||^2 / 2, at the inner minimum; and what the answer is."""
    generator = torch.Generator().manual_seed(0)
    root, b = torch.randn(2, 4, 4, generator=generator).double()
    a = root @ root.T / 4 + torch.eye(4)
    c, theta = torch.randn(2, 4, generator=generator).double()
    theta.requires_grad_()
    d = torch.linalg.solve(a, b @ theta).detach().requires_grad_()
    slope = a @ d - b @ theta
    exact = b.T @ torch.linalg.solve(a.T, d - c)
    return (d - c).square().sum() / 2, d - step * slope, d, theta, exact.detach(), step * b.T @ (d - c)


def test_on_a_quadratic_the_series_gives_the_closed_form_and_its_first_term_is_known():
    step = 0.2
    found = {}
    for terms in (0, 1, 20, 40, 1000):
        outer, mapped, d, theta, exact, first = quadratic(step)
        (found[terms],) = hypergradient(outer, mapped, d, [theta], fixed_point_steps=terms)
    assert torch.allclose(found[1000], exact, atol=1e-9)
    assert torch.allclose(found[1], first) and not found[0].any()
    assert (found[40] - exact).norm() < (found[20] - exact).norm()
    outer, mapped, d, theta, _, _ = quadratic(step / 2)  # half of the step and twice as many terms: nearly the same
    (halved,) = hypergradient(outer, mapped, d, [theta], fixed_point_steps=80)
    assert torch.allclose(halved, found[40], rtol=0.02, atol=1e-4)


class Tiny(nn.Module):
    """Smooth, so that second derivatives are not zero; small enough for full matrices."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.layer, self.head = nn.Linear(12, 6), nn.Linear(6, 3)

    def forward(self, images):
        return self.head(torch.tanh(self.layer(images.flatten(1))))


@pytest.fixture
def tiny():
    return Tiny().double()


def tiny_batch(count=8):
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 3, 2, 2, generator=generator).double()
    return images, torch.randint(3, (count,), generator=generator)


def series_by_hand(tiny, first, batch, shift, chosen, terms):
    """The gradient by torch.func, and the sum over k < K of the map's Jacobian to the power k, multiplied out."""
    weights = {name: weight.detach() for name, weight in tiny.named_parameters()}
    kept = torch.isin(torch.arange(len(batch.labels)), chosen).double().view(-1, 1, 1, 1)

    def inner(d, w):
        logits = torch.func.functional_call(tiny, w, (first.images + d.view(1, 3, 2, 2),))
        return -F.cross_entropy(logits, first.labels) + 0.001 * d.square().sum()

    def outer(d, w):
        logits = torch.func.functional_call(tiny, w, (batch.images + kept * d.view(1, 3, 2, 2),))
        return F.cross_entropy(logits, batch.labels)

    def mapped(d, w):
        return d - 0.1 * torch.func.grad(inner)(d, w)

    d = shift.flatten()
    turn, by_weights = torch.func.jacrev(mapped, argnums=(0, 1))(d, weights)
    direct, plain = torch.func.grad(outer, argnums=(0, 1))(d, weights)
    vector = sum(torch.linalg.matrix_power(turn.T, k) @ direct for k in range(terms))
    return [plain[n] + torch.tensordot(vector, by_weights[n], 1) for n in weights]


def test_on_a_network_it_is_the_series_of_full_matrices(tiny):
    images, labels = tiny_batch()
    batch, chosen = Batch(images, labels, torch.arange(8)), torch.tensor([2, 5])
    moved = torch.full((1, 3, 2, 2), 0.1).double().requires_grad_()
    expected = series_by_hand(tiny, batch, batch, moved.detach(), chosen, terms=4)
    (slope,) = torch.autograd.grad(inner_loss(tiny, batch, moved), moved, create_graph=True)
    found = hypergradient(outer_loss(tiny, batch, moved, chosen), moved - 0.1 * slope, moved,
                          list(tiny.parameters()), fixed_point_steps=4)  # fmt: skip
    assert all(torch.allclose(a, b, rtol=1e-8, atol=1e-12) for a, b in zip(found, expected, strict=True))


def test_an_outer_step_is_adams_with_the_map_of_the_first_batch(tiny):
    """Two steps of Adam by its formula, on the series of full matrices; the fixed point is of the first batch alone."""
    images, labels = tiny_batch(16)
    first, second = (Batch(images[part], labels[part], torch.arange(8)) for part in (slice(0, 8), slice(8, 16)))
    shift, chosen, plain = torch.full((1, 3, 2, 2), 0.2).double(), torch.tensor([1, 6]), deepcopy(tiny)
    adam = torch.optim.Adam(tiny.parameters(), 0.01)
    means, squares = ([torch.zeros_like(w) for w in plain.parameters()] for _ in range(2))
    for step, batch in enumerate((first, second), start=1):
        _descend(tiny, adam, first, batch, shift, chosen, 3)
        for i, slope in enumerate(series_by_hand(plain, first, batch, shift, chosen, terms=3)):
            means[i], squares[i] = 0.9 * means[i] + 0.1 * slope, 0.999 * squares[i] + 0.001 * slope**2
        for weight, mean, square in zip(plain.parameters(), means, squares, strict=True):
            weight.data -= 0.01 * mean / (1 - 0.9**step) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(tiny.parameters(), plain.parameters(), strict=True))


@pytest.mark.parametrize("radius", [None, 0.3])
def test_the_perturbations_steps_are_exact_on_a_smooth_network(tiny, radius):
    """Three steps by torch.func on the predictions, shortened after each to the ball."""
    images, labels = tiny_batch(24)
    parts = [Batch(images[i : i + 8], labels[i : i + 8], torch.arange(8)) for i in (0, 8, 16)]
    d = torch.zeros(1, 3, 2, 2).double()
    for part in parts:
        predicted = tiny(part.images).argmax(1)
        gain = torch.func.grad(lambda d, x=part.images, y=predicted: F.cross_entropy(tiny(x + d), y))(d)
        d = d + 2.0 * (gain - 0.002 * d)
        d = d if radius is None or d.norm() <= radius else radius * d / d.norm()
    found = universal_perturbation(tiny, parts, inner_rate=2.0, ball_radius=radius)
    assert torch.allclose(found, d.detach(), atol=1e-12) and found.norm() > 0.2


def test_the_perturbation_is_the_released_loops_and_stays_in_the_ball(backdoored, clean):
    parts = list(batches(clean, 50))
    shift = torch.zeros(1, 3, 16, 16)
    for images, _, _ in parts:  # the released loop: SGD without momentum on d
        d = shift.clone().requires_grad_()
        loss = -F.cross_entropy(backdoored(images + d), backdoored(images).argmax(1)) + 0.001 * d.norm() ** 2
        loss.backward()
        shift = shift - 100.0 * torch.nan_to_num(d.grad)
    free = universal_perturbation(backdoored, parts, inner_rate=100.0, ball_radius=None)
    assert torch.allclose(free, shift, rtol=1e-2, atol=1e-2 * shift.abs().max())
    kept = universal_perturbation(backdoored, parts, inner_rate=100.0, ball_radius=0.5)
    assert kept.norm() <= 0.5 + 1e-6 < free.norm()
    assert torch.equal(project(kept, 0.6), kept) and not project(torch.zeros(1, 3, 2, 2), 1.0).any()


def test_the_ascent_hurts_and_moves_most_predictions_to_one_class(backdoored, clean):
    parts = list(batches(clean, 50))
    shift = universal_perturbation(backdoored, parts, inner_rate=100.0, ball_radius=8.0)
    before, after = (sum(-inner_loss(backdoored, part, d) for part in parts) for d in (torch.zeros_like(shift), shift))
    assert after > before
    moved = torch.cat([backdoored(part.images + shift).argmax(1) for part in parts])
    assert moved.bincount().max() > 0.5 * len(moved)


def test_at_least_one_image_of_a_batch_is_perturbed_and_none_in_small_released_batches():
    counts = {size: [perturbed_count(size, 0.01, variant=v) for v in ("paper", "released")] for size in (50, 100, 250)}
    assert counts == {50: [1, 0], 100: [1, 1], 250: [3, 2]}
    assert perturbed_count(100, 0.0) == 0
    assert [perturbed_count(100, share) for share in (0.07, 0.14, 0.28, 0.55)] == [7, 14, 28, 55]
    assert perturbed_count(50, 1e-12) == 1


FAST = dict(unlearning_rounds=2, ball_radius=4.0, perturbed_share=0.1, batch_size=50)


def adam_by_hand(model, clean, *, rounds, rate):
    """Plain fine-tuning by Adam, in evaluation mode, batch by batch in the order of the set."""
    copy = deepcopy(model).eval().requires_grad_(True)
    adam = torch.optim.Adam(copy.parameters(), rate)
    for _ in range(rounds):
        for images, labels, _ in batches(clean, 50):
            adam.zero_grad()
            F.cross_entropy(copy(images), labels).backward()
            adam.step()
    return copy


@pytest.mark.parametrize("how", [dict(perturbed_share=0.0), dict(perturbed_share=0.01, variant="released")])
def test_without_a_perturbed_image_it_is_fine_tuning(backdoored, clean, how):
    """The second case is the released code's on batches of fewer than 100 images."""
    ours = i_bau(backdoored, clean, **FAST | how)
    plain = adam_by_hand(backdoored, clean, rounds=2, rate=1e-3)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(ours.parameters(), plain.parameters(), strict=True))


def test_statistics_stay_and_every_round_begins_at_zero(backdoored, clean):
    events, shifts = EventLog(), []
    repaired = i_bau(backdoored, clean, **FAST, on_event=lambda n, v: (events(n, v), shifts.append((n, v))))
    for name, value in repaired.named_buffers():
        assert torch.equal(value, backdoored.get_buffer(name))
    found = [value for name, value in shifts if name == "perturbation"]
    assert len(found) == events.counts["epoch"] == 2 and all(shift.norm() <= 4 + 1e-5 for shift in found)
    first = universal_perturbation(backdoored, list(batches(clean, 50)), inner_rate=10.0, ball_radius=4.0)
    assert torch.equal(found[0], first)


def test_the_series_changes_the_result_and_the_seed_chooses_the_images(backdoored, clean):
    once = FAST | {"unlearning_rounds": 1, "batch_size": 100}
    kinds = [once, once | {"fixed_point_steps": 0}, once | {"seed": 3}]
    heads = [i_bau(backdoored, clean, **kind).head.weight for kind in kinds]
    assert not torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


def test_a_loss_that_is_no_number_ends_it():
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 4))
    model[1].weight.data.fill_(1e38)
    with pytest.raises((FloatingPointError, ValueError)):
        i_bau(model, toy(20, 0), unlearning_rounds=1)
