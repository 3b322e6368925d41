"""The correctness checks of FT-SAM: its loss, its schedule, its trajectory, and what is measured inside."""

from copy import deepcopy
from math import log

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR
from toy_task import STATISTICS, toy

from bdlib.checks import ParameterError
from bdlib.data.images import batches, split
from bdlib.defenses.ft_sam import Swinging, ft_sam, smoothed_cross_entropy
from bdlib.mechanisms import MECHANISMS
from bdlib.mechanisms.ft_sam import (
    first,
    landscape,
    last_filters,
    loss_at,
    most_changed,
    random_direction,
    uphill,
    uphill_rise,
)
from bdlib.models import preact_resnet18, seeded, vgg19_bn
from bdlib.training.loop import Schedule, train
from bdlib.types import EventLog

mechanism = MECHANISMS["ft_sam"]
FAST = dict(epochs=2, learning_rate=0.05, batch_size=32, augmentation=None)
LOGITS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 3, 1, 1, 2, 0])


def weights(model):
    return torch.cat([p.detach().flatten().double() for p in model.state_dict().values()])


def test_no_smoothing_is_cross_entropy():
    assert torch.equal(smoothed_cross_entropy(LOGITS, LABELS, 0.0), F.cross_entropy(LOGITS, LABELS))


@pytest.mark.parametrize("s", [0.1, 0.3])
def test_the_smoothed_loss_is_the_released_divergence_plus_the_targets_entropy(s):
    target = torch.full((6, 4), s / 3).scatter(1, LABELS[:, None], 1 - s)
    logits = LOGITS.clone().requires_grad_()
    divergence = F.kl_div(logits.log_softmax(1), target, reduction="batchmean")
    entropy = -(1 - s) * log(1 - s) - s * log(s / 3)
    ours = smoothed_cross_entropy(logits, LABELS, s)
    assert ours.item() == pytest.approx(divergence.item() + entropy, abs=1e-6)
    assert torch.allclose(*(torch.autograd.grad(loss, logits)[0] for loss in (ours, divergence)), atol=1e-7)


def test_the_released_rates_are_those_of_a_scheduler_advanced_every_step():
    released, plain = Swinging(100, 0.01), Schedule(100, 0.01)
    optimizer = SGD([nn.Parameter(torch.zeros(1))], 0.01)
    scheduler = CosineAnnealingLR(optimizer, T_max=100)
    for step in range(1000):
        assert 0.01 * released.rate(step, 10) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        scheduler.step()
    assert released.rate(100, 10) < 1e-9 and released.rate(999, 10) > 0.999
    assert plain.rate(999, 10) < 1e-4
    totals = [sum(schedule.rate(step, 10) for step in range(1000)) for schedule in (released, plain)]
    assert totals[0] == pytest.approx(totals[1], abs=1)


def by_hand(model, data, *, rho, smoothing, rate_at, steps_wanted, lr):
    """FT-SAM written out: own perturbation, own momentum SGD, BatchNorm layers told what to keep."""
    model = deepcopy(model).train()
    parameters = list(model.parameters())
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    buffers = [torch.zeros_like(p) for p in parameters]
    generator, step = torch.Generator().manual_seed(0), 0
    while step < steps_wanted:
        for batch in batches(data, 32, generator=generator):
            target = torch.full((len(batch.labels), 4), smoothing / 3)
            target[torch.arange(len(batch.labels)), batch.labels] = 1 - smoothing

            def gradients(batch=batch, target=target):
                loss = -(target * model(batch.images).log_softmax(1)).sum(1).mean()
                return torch.autograd.grad(loss, parameters)

            start = [p.detach().clone() for p in parameters]
            here = gradients()
            kept = [(m.running_mean.clone(), m.running_var.clone()) for m in norms]
            length = sum((w * g).square().sum() for w, g in zip(start, here, strict=True)).sqrt() + 1e-12
            with torch.no_grad():
                for p, w, g in zip(parameters, start, here, strict=True):
                    p.copy_(w + rho * w * w * g / length)
            above = gradients()
            for m, (mean, var) in zip(norms, kept, strict=True):
                m.running_mean.copy_(mean), m.running_var.copy_(var)
            with torch.no_grad():
                for p, w, g, buffer in zip(parameters, start, above, buffers, strict=True):
                    buffer.mul_(0.9).add_(g + 5e-4 * w)
                    p.copy_(w - lr * rate_at(step) * buffer)
            step += 1
    return model


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_the_whole_run_is_the_one_written_out(backdoored, variant):
    data = toy(64, seed=7)  # two steps an epoch
    shape = {"paper": Schedule, "released": Swinging}[variant](2, 0.02)
    ours = ft_sam(backdoored, data, rho=0.5, label_smoothing=0.1, epochs=2, learning_rate=0.02, batch_size=32,
                  augmentation=None, variant=variant)  # fmt: skip
    expected = by_hand(backdoored, data, rho=0.5, smoothing=0.1, rate_at=lambda step: shape.rate(step, 2),
                       steps_wanted=4, lr=0.02)  # fmt: skip
    for (name, p), q in zip(ours.named_parameters(), expected.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-5), name
    for (name, b), c in zip(ours.named_buffers(), expected.buffers(), strict=True):
        assert "tracked" in name or torch.allclose(b, c, atol=1e-5), name


def test_no_radius_is_plain_fine_tuning_bit_for_bit(backdoored, clean):
    control = train(deepcopy(backdoored), clean, Schedule(2, 0.05, batch_size=32, augmentation=None))
    for adaptive in (True, False):
        assert torch.equal(weights(ft_sam(backdoored, clean, rho=0.0, adaptive=adaptive, **FAST)), weights(control))
    assert not torch.equal(weights(ft_sam(backdoored, clean, rho=0.1, **FAST)), weights(control))


def test_it_tells_every_epoch_and_refuses_what_is_out_of_range(backdoored, clean):
    events = EventLog()
    tuned = ft_sam(backdoored, clean, rho=0.1, on_event=events, **FAST)
    assert events.counts == {"epoch": 2} and events["epoch"].model is tuned
    for wrong in ({"variant": "relesed"}, {"rho": -1.0}, {"label_smoothing": 0.6}, {"adaptive": 1}):
        with pytest.raises(ParameterError, match=rf"^{next(iter(wrong))}=.*: must be "):
            ft_sam(backdoored, clean, **FAST | wrong)


def test_every_option_changes_the_outcome(backdoored, clean):
    plain = weights(ft_sam(backdoored, clean, rho=0.5, **FAST))
    for option in ({"adaptive": False}, {"label_smoothing": 0.1}, {"variant": "released"}, {"rho": 0.6}):
        assert not torch.equal(plain, weights(ft_sam(backdoored, clean, **({"rho": 0.5} | FAST | option))))


def test_the_clean_set_is_balanced_and_repeats_itself():
    data = toy(400, seed=3)
    counts = [int((data.labels == k).sum()) for k in range(4)]
    chosen, _ = split(data, 0.1, seed=2)
    assert chosen.labels.bincount().tolist() == [round(0.1 * n) for n in counts]
    assert torch.equal(chosen.images, split(data, 0.1, seed=2)[0].images)


# What is measured inside


def folded_by_hand(model, convolution, norm):
    """The convolution with its BatchNorm folded in: does it give out what both give out in turn?"""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    folded = convolution.weight * scale[:, None, None, None]
    return folded, norm.bias - scale * norm.running_mean


def test_the_last_filters_are_folded_into_the_batch_norm_behind(backdoored, clean):
    found = last_filters(backdoored, clean)
    assert (found.convolution, found.layer) == ("layer3.0.conv2", "layer3.0.bn2")
    convolution, norm = (backdoored.get_submodule(name) for name in (found.convolution, found.layer))
    folded, offset = folded_by_hand(backdoored, convolution, norm)
    features = torch.randn(2, 128, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        both = norm(convolution(features))
        assert torch.allclose(F.conv2d(features, folded, offset, padding=1), both, atol=1e-4)
    assert torch.allclose(found.norms, folded.flatten(1).norm(dim=1), rtol=1e-4)
    assert torch.allclose(found.raw_norms, convolution.weight.flatten(1).norm(dim=1))


def test_a_convolution_without_a_batch_norm_behind_stands_for_itself():
    images = first(toy(2, seed=0))
    preact = seeded(lambda: preact_resnet18(3, 4, *STATISTICS), seed=0).eval()
    found = last_filters(preact, images)
    assert found.convolution == found.layer == "layer4.1.conv2" and torch.equal(found.norms, found.raw_norms)
    large = type(images)(images.images.repeat(1, 1, 2, 2), images.labels)
    vgg = last_filters(seeded(lambda: vgg19_bn(3, 4, *STATISTICS), seed=0).eval(), large)
    assert (vgg.convolution, vgg.layer) == ("features.49", "features.50")


def test_folded_norms_are_blind_to_a_filters_scale_and_raw_ones_are_not(backdoored, clean):
    """A filter three times as long, in front of a BatchNorm that saw it so, is the same filter."""
    scaled = deepcopy(backdoored)
    block = scaled.get_submodule("layer3.0")
    block.conv2.weight.data[5] *= 3
    block.bn2.running_mean[5] *= 3
    block.bn2.running_var[5] *= 9
    one, other = last_filters(backdoored, clean), last_filters(scaled, clean)
    assert torch.allclose(one.norms, other.norms, rtol=1e-3)
    assert (other.raw_norms / one.raw_norms)[5].item() == pytest.approx(3, rel=1e-5)


def test_random_directions_have_each_filters_own_length(backdoored, clean):
    shift = random_direction(backdoored, torch.Generator().manual_seed(1))
    named = dict(backdoored.named_parameters())
    assert shift.keys() == {name for name, p in named.items() if p.dim() > 1}
    for name, move in shift.items():
        assert torch.allclose(move.flatten(1).norm(dim=1), named[name].flatten(1).norm(dim=1), rtol=1e-4)
    before = weights(backdoored)
    heights = landscape(backdoored, clean, [0.0, 0.1, 0.5], directions=2)
    moved = deepcopy(backdoored)
    shift = random_direction(backdoored, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name, p in moved.named_parameters():
            p += 0.5 * shift.get(name, torch.zeros_like(p))
        loss = F.cross_entropy(moved(clean.images.float() / 255), clean.labels)
    assert heights[0, 2].item() == pytest.approx(loss.item(), rel=1e-4)
    assert heights[0, 0] == heights[1, 0] and torch.equal(weights(backdoored), before)


def test_the_uphill_move_is_on_its_ball_and_raises_the_loss(backdoored, clean):
    shift, named = uphill(backdoored, clean, rho=0.1), dict(backdoored.named_parameters())
    ratios = [(move / named[name])[named[name] != 0] for name, move in shift.items()]
    assert torch.cat(ratios).norm().item() == pytest.approx(0.1, rel=1e-3)
    assert loss_at(backdoored, clean, shift, 1.0) > loss_at(backdoored, clean, shift, 0.0)


def test_most_changed_counts():
    chosen = most_changed(torch.arange(20.0).flip(0), 0.1)
    assert chosen.nonzero().flatten().tolist() == [0, 1]
    assert most_changed(torch.rand(3), 0.1).sum() == 1


def test_the_mechanism_of_an_unchanged_model_is_one_and_of_a_shrunken_filter_its_factor(
    backdoored, clean, test_set, trigger
):
    told = mechanism(backdoored, backdoored, clean, test_set, trigger, target_label=0)
    assert all(told[name] == pytest.approx(1) for name in told if "ratio" in name)
    assert told["random_rise_before"] == told["random_rise_after"] > 0 and told["uphill_rise_after"] > 0
    shrunk = deepcopy(backdoored)
    shrunk.get_submodule("layer3.0.bn2").weight.data.mul_(0.5)
    told = mechanism(backdoored, shrunk, clean, test_set, trigger, target_label=0)
    for group in ("backdoor", "other"):
        assert told[f"norm_ratio_{group}_filters"] == pytest.approx(0.5)
        assert told[f"change_ratio_{group}_filters"] == pytest.approx(0.5, rel=1e-4)
        assert told[f"raw_norm_ratio_{group}_filters"] == pytest.approx(1)
    assert told["norm_spread_after"] == pytest.approx(told["norm_spread_before"] / 2)


def test_without_a_trigger_nothing_of_it_is_told(backdoored, clean, test_set):
    told = mechanism(backdoored, backdoored, clean, test_set, lambda images: images, target_label=0)
    assert told and not [name for name in told if "change" in name or "backdoor" in name]


def test_it_ends_flatter_than_plain_fine_tuning(backdoored, clean, test_set):
    """What it minimises, on images that it has not seen: the loss at the top of the uphill move."""
    settings = dict(epochs=4, learning_rate=0.02, batch_size=32, augmentation=None)
    plain, sharp = (ft_sam(backdoored, clean, rho=rho, **settings) for rho in (0.0, 1.0))
    rises = [uphill_rise(model, test_set, rho=1.0) for model in (plain, sharp)]
    assert rises[1] < 0.8 * rises[0]
