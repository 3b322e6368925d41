"""Dormancy, the choice of filters, and that pruned filters stay pruned."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from toy_task import STATISTICS, toy

from bdlib.checks import ParameterError
from bdlib.defenses.fine_prune import (
    activations,
    choose_filters,
    dormancy,
    fine_prune,
    fine_tune_pruned,
    without_filters,
)
from bdlib.defenses.fine_tune import fine_tune
from bdlib.models import preact_resnet18, predict, resnet18, seeded, tap

FAST = dict(epochs=2, learning_rate=0.05, milestone=1, batch_size=32, augmentation=None)


def accuracy(model, data):
    return (predict(model, data) == data.labels).double().mean().item()


def state(model):
    return torch.cat([p.detach().flatten() for p in model.state_dict().values()])


def silent(model, count=10):
    """What stays when the first `count` of 128 filters are pruned."""
    keep = torch.ones(128, dtype=torch.bool)
    keep[:count] = False
    return keep


def test_dormancy_is_the_mean_activation_behind_the_last_relu(backdoored, clean):
    with torch.no_grad(), tap(backdoored, "layer3") as seen:
        backdoored(clean.images.float() / 255)
    by_hand = torch.stack([seen["layer3"][:, c].clamp(min=0).mean() for c in range(128)])
    assert torch.allclose(dormancy(backdoored, clean), by_hand, atol=1e-5) and by_hand.min() >= 0


def test_without_a_filter_is_as_if_its_map_were_silent(backdoored, clean):
    keep, images = silent(backdoored), clean.images.float() / 255
    with torch.no_grad(), tap(backdoored, "relu") as seen:
        backdoored(images)
        features = seen["relu"].clone()
        features[:, ~keep] = 0
        expected = backdoored.head(features.mean((2, 3)))
        assert torch.allclose(without_filters(backdoored, keep)(images), expected, atol=1e-5)


def test_the_choice_is_the_longest_that_costs_no_more_than_allowed(backdoored, clean):
    """Against pruning for real and predicting again, filter by filter, on data that the victim finds hard."""
    data = clean.__class__(clean.images, clean.labels.clone())
    data.labels[::7] = 3
    order, keep = dormancy(backdoored, data).argsort(), torch.ones(128, dtype=torch.bool)
    for drop in (0.02, 0.1):
        chosen = choose_filters(backdoored, data, allowed_drop=drop)
        lowest = accuracy(backdoored, data) - drop
        keep[:] = True
        for number in order:
            keep[number] = False
            if accuracy(without_filters(backdoored, keep), data) < lowest:
                keep[number] = True
                break
        assert torch.equal(chosen, keep) and 0 < (~keep).sum() < 128
        assert accuracy(without_filters(backdoored, chosen), data) >= lowest


def test_more_is_pruned_for_more_accuracy_and_at_most_all_but_what_is_needed(backdoored, clean):
    left = [choose_filters(backdoored, clean, allowed_drop=drop) for drop in (0.0, 0.05, 0.3, 1.0)]
    assert all((wide | ~narrow).all() for wide, narrow in pairwise(left))
    assert left[0].sum() > left[2].sum() and not left[3].any()


def test_pruned_filters_stay_pruned_and_the_others_learn(backdoored, clean):
    keep = silent(backdoored)
    tuned = fine_tune_pruned(backdoored, clean, keep, **FAST)
    assert (tuned.head.weight[:, ~keep] == 0).all() and (tuned.head.weight[:, keep] != 0).all()
    assert not torch.equal(tuned.head.weight[:, keep], backdoored.head.weight[:, keep])
    freely = fine_tune(without_filters(backdoored, keep), clean, **FAST)
    assert (freely.head.weight[:, ~keep] != 0).any()


def test_its_gradient_is_that_of_a_network_without_those_filters(backdoored, clean):
    """One step of the pruned network, against a head of fewer inputs written out."""
    keep, once = (
        silent(backdoored, 100),
        dict(epochs=1, learning_rate=0.05, milestone=1, batch_size=200, augmentation=None),
    )
    tuned = fine_tune_pruned(backdoored, clean, keep, **once, seed=3)

    def loss_fn(net, batch):
        return F.cross_entropy(narrow(net, batch.images, keep), batch.labels)

    smaller = fine_tune(backdoored, clean, **once, seed=3, loss_fn=loss_fn)
    for name in ("layer3.0.conv2.weight", "layer1.0.conv1.weight", "head.bias"):
        assert torch.allclose(tuned.get_parameter(name), smaller.get_parameter(name), atol=1e-5)


def narrow(net, images, keep):
    body = torch.nn.Sequential(*list(net.children())[:-1])
    return F.linear(body(images)[:, keep], net.head.weight[:, keep], net.head.bias)


def test_with_nothing_pruned_it_is_fine_tuning_bit_for_bit(backdoored, clean):
    same = fine_tune_pruned(backdoored, clean, silent(backdoored, 0), **FAST)
    assert torch.equal(state(same), state(fine_tune(backdoored, clean, **FAST)))


def test_fine_pruning_is_its_two_stages(backdoored, clean):
    whole = fine_prune(backdoored, clean, allowed_drop=0.1, seed=2, **FAST)
    keep = choose_filters(backdoored, clean, allowed_drop=0.1)
    assert torch.equal(state(whole), state(fine_tune_pruned(backdoored, clean, keep, seed=2, **FAST)))
    assert (whole.head.weight == 0).all(0).sum() == (~keep).sum() > 0


def test_other_networks_have_a_head_too_and_other_layers_are_refused(backdoored, clean):
    other = seeded(lambda: preact_resnet18(3, 4, (0.5,) * 3, (0.25,) * 3), seed=0).eval()
    assert activations(other, toy(4, 0)).shape == (4, 512)
    with pytest.raises(ValueError, match="readout='layer3'"):
        activations(backdoored, clean, readout="layer3")
    with pytest.raises(ParameterError, match="^readout='tail': must be a layer; there are normalize, stem, layer1"):
        activations(backdoored, clean, readout="tail")


def test_the_default_readout_is_the_networks_own():
    network, once = seeded(lambda: resnet18(3, 4, *STATISTICS), seed=0).eval(), dict(epochs=0)
    default, named = (fine_prune(network, toy(8, 0), readout=name, **once) for name in (None, "fc"))
    assert torch.equal(default.fc.weight, named.fc.weight)
