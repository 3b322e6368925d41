"""The correctness checks of the neural polarizer: the layer, the attack inside, the four terms, and the stages."""

from copy import deepcopy
from dataclasses import replace
from functools import partial
from math import inf, log

import pytest
import torch
import torch.nn.functional as F
from toy_task import toy

from bdlib.checks import ParameterError
from bdlib.data.images import split
from bdlib.defenses.npd.method import npd, polarize, polarizer_loss, warm_up
from bdlib.defenses.npd.polarizer import Polarized, Polarizer, insert
from bdlib.defenses.npd.targeted_pgd import project, second_most_likely_class, targeted_pgd
from bdlib.evaluation.metrics import evaluate
from bdlib.experiments.parameters import overridden
from bdlib.mechanisms.npd import learned_parameters, nearest_class, plane, trigger_shift, two_parts
from bdlib.mechanisms.npd import npd as measure
from bdlib.models import MODELS, predict, tap
from bdlib.training.loop import Schedule, train
from bdlib.types import EventLog

LAYER = "layer3.0.conv1"
BALL = dict(radius=1.5, step_size=0.1, inner_steps=2)
ATTACK = partial(targeted_pgd, **BALL)
FAST = dict(loss_weights=(1.0, 0.4, 0.4, 0.4))
SCHEDULE = Schedule(2, 0.02, anneal="constant", batch_size=32, augmentation=None)
LOGITS = torch.tensor([[4.0, 1.0, 2.0, -3.0], [0.0, -1.0, 5.0, -2.0], [-20.0, -30.0, -25.0, -40.0]])
LABELS = torch.tensor([0, 2, 0])


def pixels(data, count=64):
    return data.images[:count].float() / 255


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.polarizer.state_dict().values()])


@pytest.fixture(scope="module")
def start(backdoored, clean):
    return insert(backdoored, clean, layer=LAYER)


@pytest.fixture(scope="module")
def warm(start, clean):
    return warm_up(start, clean, epochs=2, batch_size=32, seed=0)


@pytest.fixture(scope="module")
def defended(warm, clean):
    return polarize(warm, clean, SCHEDULE, ATTACK, **FAST)


def test_a_new_polarizer_is_the_identity_in_evaluation_mode_only(start, backdoored, test_set):
    with torch.no_grad():
        apart = (start(pixels(test_set)) - backdoored(pixels(test_set))).abs().max()
    assert not start.polarizer.training and 0 < apart < 1e-3
    assert torch.equal(predict(start, test_set), predict(backdoored, test_set))
    features = torch.rand(8, 6, 4, 4, generator=torch.Generator().manual_seed(0)) - 0.3
    fresh = Polarizer(6)
    assert torch.allclose(fresh.eval()(features), features, atol=1e-5) and torch.equal(fresh.conv(features), features)
    assert not torch.allclose(fresh.train()(features), features, atol=0.1)


@pytest.mark.parametrize(
    ("model", "layer", "width"),
    [("preact_resnet18", "layer4.1.conv1", 512), ("wrn_16_1", "layer3.1.conv1", 64),
     ("small_resnet", LAYER, 64), ("small_resnet", "pool", 128), ("resnet18", "layer4.1.conv1", 512)],
)  # fmt: skip
def test_where_it_sits_and_what_it_learns(model, layer, width):
    network = MODELS[model](3, 4, (0.5,) * 3, (0.25,) * 3)
    polarized = insert(network, toy(1, 0), layer=layer)
    assert learned_parameters(polarized) == width**2 + 2 * width
    assert {name for name, p in polarized.named_parameters() if p.requires_grad} == {
        "polarizer.conv.weight", "polarizer.norm.weight", "polarizer.norm.bias"}  # fmt: skip
    assert all(p.requires_grad for p in network.parameters())


def test_only_the_residual_branch_passes_through_it(start, clean):
    """With a polarizer that gives out nothing, the block's shortcut still carries the image to the classes."""
    blocked = deepcopy(start)
    blocked.polarizer.norm.weight.data.zero_()
    images = pixels(clean, 8)
    with torch.no_grad(), tap(blocked, "model.layer3.0.shortcut", "model.layer3.0.conv1", "polarizer") as seen:
        answers = blocked(images)
    with torch.no_grad(), tap(start, "model.layer3.0.shortcut") as unblocked:
        start(images)
    assert seen["polarizer"].abs().max() == 0 and seen["model.layer3.0.conv1"].abs().max() == 0
    assert torch.equal(seen["model.layer3.0.shortcut"], unblocked["model.layer3.0.shortcut"])
    assert answers.std(0).min() > 0


def test_a_layer_must_exist_and_take_maps(backdoored, clean):
    with pytest.raises(
        ParameterError, match=r"^layer='layer9.0': must be a layer; there are normalize, stem, layer1, "
    ):
        insert(backdoored, clean, layer="layer9.0")
    with pytest.raises(ParameterError, match=r"^layer='layer3.1.conv1': must be a layer; there are layer3.0$"):
        insert(backdoored, clean, layer="layer3.1.conv1")
    with pytest.raises(
        ParameterError, match=r"layer='head': must take maps of shape .*, not a Tensor of shape \(2, 128\)"
    ):
        insert(backdoored, clean, layer="head")
    assert overridden("npd", {"layer": LAYER})
    with pytest.raises(ParameterError, match="layer4.1.conv1"):
        overridden("npd", {"layer": "layer4.1.conv1"})
    with pytest.raises(ParameterError, match="must be a list of 4, each item a number"):
        overridden("npd", {"loss_weights": [1.0, 0.4]})


def test_the_victim_inside_is_untouched_and_comes_out_whole(defended, backdoored, test_set, trigger):
    """The backbone is bit-identical, buffers and all; without its polarizer it attacks exactly as before."""
    assert same(defended.model.state_dict(), backdoored.state_dict())
    scores = [evaluate(network, test_set, trigger, target_label=0) for network in (defended.model, backdoored)]
    assert scores[0] == scores[1]
    assert not any(module._forward_pre_hooks for module in defended.modules())


def test_it_is_one_module(defended, backdoored, clean, test_set):
    """Copies and state dicts carry victim and polarizer; a copy filters with its own; forward passes leave no hook."""
    images = pixels(test_set)
    other = insert(backdoored, clean, layer=LAYER)
    other.load_state_dict(defended.state_dict())
    copy = deepcopy(defended)
    with torch.no_grad():
        expected = defended(images)
        assert torch.equal(other.eval()(images), expected) and torch.equal(copy(images), expected)
        copy.polarizer.norm.weight.zero_()
        assert not torch.equal(copy(images), expected) and torch.equal(defended(images), expected)
        assert torch.equal(defended(images), expected)  # not applied twice the second time
    with pytest.raises(ParameterError, match="takes 3 channels, not 2"):
        defended(images[:, :2])
    assert not any(module._forward_pre_hooks for module in defended.modules())


def test_it_filters_once_by_an_independent_computation(defended, test_set):
    """The last block written out, its convolution fed by conv and BatchNorm computed by hand."""
    g, net = defended.polarizer, defended.model
    block = net.get_submodule("layer3.0")
    with torch.no_grad():
        x = net.stem(net.normalize(pixels(test_set)))
        active = F.relu(net.layer2(net.layer1(x)))
        mixed = torch.einsum("oi,nihw->nohw", g.conv.weight[:, :, 0, 0], active)
        mean, var, gain, offset = (t[:, None, None] for t in (
            g.norm.running_mean, g.norm.running_var, g.norm.weight, g.norm.bias))  # fmt: skip
        filtered = (mixed - mean) / (var + 1e-5).sqrt() * gain + offset
        inner = F.relu(block.bn1(block.conv1(filtered)))
        out = block.shortcut(active) + block.bn2(block.conv2(inner))
        expected = net.head(F.relu(out).mean((2, 3)))
        assert torch.allclose(defended(pixels(test_set)), expected, atol=1e-5)


def test_channel_order_does_not_matter(defended, test_set):
    """Channels permuted on the way in, and back on the way out: the same function of the image."""
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    turned, g = deepcopy(defended), defended.polarizer
    turned.polarizer.conv.weight.data = g.conv.weight.data[order][:, order]
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(turned.polarizer.norm, name).data = getattr(g.norm, name).data[order]
    host = turned.model.get_submodule("layer3.0.conv1")
    host.weight.data = host.weight.data[:, order]
    block = turned.model.get_submodule("layer3.0")
    before = turned.model.get_submodule("layer2.0")  # its output channels, and the shortcut that reads them
    for conv, norm in ((before.conv2, before.bn2), (before.shortcut[0], before.shortcut[1])):
        conv.weight.data = conv.weight.data[order]
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(norm, name).data = getattr(norm, name).data[order]
    block.shortcut[0].weight.data = block.shortcut[0].weight.data[:, order]
    with torch.no_grad():
        assert torch.allclose(turned(pixels(test_set)), defended(pixels(test_set)), atol=1e-4)


def test_training_mode_reaches_the_polarizer_in_warm_up_alone(start):
    network = deepcopy(start)
    network.train()
    assert not any(module.training for module in network.modules())
    network.warming_up = True
    network.train()
    assert {name for name, module in network.named_modules() if module.training} == {
        "polarizer", "polarizer.conv", "polarizer.norm"}  # fmt: skip
    network.eval()
    assert not any(module.training for module in network.modules())


def test_warm_up_takes_on_statistics_which_stay(start, warm, defended, clean):
    norm = deepcopy(start).polarizer.norm.train()
    norm.momentum = None  # plain average
    with torch.no_grad(), tap(start, "polarizer") as seen:
        start(clean.images.float() / 255)
        norm(seen["polarizer"])
    near = (warm.polarizer.norm.running_mean - norm.running_mean).norm() / norm.running_mean.norm()
    assert near < 0.6 and warm.polarizer.norm.num_batches_tracked == 14  # 2 epochs of 7 batches at momentum 0.1
    assert (warm.polarizer.conv.weight - start.polarizer.conv.weight).abs().max() < 1e-2
    assert torch.equal(warm.polarizer.norm.running_var, defended.polarizer.norm.running_var)
    assert torch.equal(warm.polarizer.norm.running_mean, defended.polarizer.norm.running_mean)
    assert start.polarizer.norm.num_batches_tracked == 0 and not warm.warming_up


def test_runner_up_and_the_masks():
    assert second_most_likely_class(LOGITS, LABELS).tolist() == [2, 0, 2]
    assert second_most_likely_class(LOGITS, LABELS, mask=-10.0).tolist() == [
        2,
        0,
        0,
    ]  # wherever all others are below -10
    assert second_most_likely_class(-LOGITS.abs() - 1, LABELS, mask=-1e-10).tolist() == [
        0,
        2,
        0,
    ]  # wherever all others are negative
    flat = torch.zeros(1, 4)
    assert second_most_likely_class(flat, torch.tensor([0])).tolist() != [0]


@pytest.mark.parametrize("radius", [0.0, 0.3, 1.5])
def test_shifts_stay_in_the_ball_and_images_in_range(warm, clean, radius):
    scales = torch.tensor([0, 0.001, 0.1, 1, 9])[:, None, None, None]
    shift = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * scales
    lengths = project(shift, radius).flatten(1).norm(dim=1)
    assert (lengths <= radius + 1e-5).all()
    assert torch.allclose(lengths, shift.flatten(1).norm(dim=1).clamp(max=radius), atol=1e-5)
    images, labels = pixels(clean), clean.labels[:64]
    targets = second_most_likely_class(warm(images), labels)
    attacked = targeted_pgd(warm, images, targets, radius=radius, step_size=0.1, inner_steps=2)
    moved = (attacked - images).flatten(1).norm(dim=1)
    assert (targets != labels).all() and (moved <= radius + 1e-5).all()
    assert 0 <= attacked.min() and attacked.max() <= 1 and not attacked.requires_grad
    assert torch.equal(attacked, images) == (radius == 0)


def test_the_attack_is_that_of_a_plain_loop(warm, clean):
    """Written out image by image; it also stops where more than the asked share has arrived."""
    images, labels = pixels(clean, 16), clean.labels[:16]
    targets = second_most_likely_class(warm(images), labels)

    def by_hand(steps):
        shifts = [torch.zeros_like(image) for image in images]
        for _ in range(steps):
            for i, image in enumerate(images):
                d = shifts[i].clone().requires_grad_()
                F.cross_entropy(warm((image + d).clamp(0, 1)[None]), targets[i : i + 1]).backward()
                stepped = shifts[i] - 0.1 * d.grad.sign()
                length = stepped.square().sum().sqrt()
                shifts[i] = stepped * 1.5 / length if length > 1.5 else stepped
        warm.zero_grad()
        return torch.stack([(image + d).clamp(0, 1) for image, d in zip(images, shifts, strict=True)])

    three = targeted_pgd(warm, images, targets, radius=1.5, step_size=0.1, inner_steps=3, enough=1.0)
    assert torch.allclose(three, by_hand(3), atol=1e-5)
    stopped = targeted_pgd(warm, images, targets, radius=1.5, step_size=0.1, inner_steps=3, enough=-1.0)
    assert torch.allclose(stopped, by_hand(1), atol=1e-5)


def test_the_attack_raises_the_targets_probability_and_leaves_no_gradient_behind(warm, clean):
    images, labels = pixels(clean), clean.labels[:64]
    targets = second_most_likely_class(warm(images), labels)
    attacked = targeted_pgd(warm, images, targets, radius=1.5, step_size=0.1, inner_steps=2)
    with torch.no_grad():
        losses = [F.cross_entropy(warm(x), targets) for x in (images, attacked)]
    assert losses[1] < losses[0] and all(p.grad is None for p in warm.parameters())


def test_the_four_terms_by_hand():
    clean_logits, labels, targets = LOGITS, LABELS, torch.tensor([2, 0, 2])
    attacked = torch.tensor([[1.0, 0.0, 3.0, -2.0], [2.0, -1.0, 1.5, 0.0], [0.5, 0.0, 0.0, 0.2]])
    p, total = attacked.softmax(1), [0.0] * 4
    for i, (y, t) in enumerate(zip(labels.tolist(), targets.tolist(), strict=True)):
        said = clean_logits[i].argmax().item()
        wrong = max((k for k in range(4) if k != y), key=lambda k, i=i: p[i, k].item())
        total[0] -= clean_logits[i].log_softmax(0)[y].item() / 3
        total[1] -= log(p[i, said]) / 3
        total[2] -= log(1.0001 - p[i, wrong].item() + 1e-12) / 3
        total[3] -= log(1.0001 - p[i, t].item() + 1e-12) / 3
    for k in range(4):
        one_hot = [float(k == j) for j in range(4)]
        term = polarizer_loss(clean_logits, attacked, labels, targets, weights=one_hot)
        assert term.item() == pytest.approx(total[k], abs=1e-5)
    lambdas = (1.0, 0.4, 0.3, 0.2)
    whole = polarizer_loss(clean_logits, attacked, labels, targets, weights=lambdas).item()
    assert whole == pytest.approx(sum(w * t for w, t in zip(lambdas, total, strict=True)), abs=1e-5)
    with pytest.raises(ValueError, match="zip"):
        polarizer_loss(clean_logits, attacked, labels, targets, weights=(1.0, 1.0))


def test_the_last_two_terms_are_bounded():
    certain = torch.tensor([[-200.0, 200.0, -200.0, -200.0]])
    sure_of_truth, labels = certain.roll(-1, 1), torch.tensor([0])
    for k in (2, 3):
        one_hot = [float(k == j) for j in range(4)]
        worst = polarizer_loss(certain, certain, labels, torch.tensor([1]), weights=one_hot)
        best = polarizer_loss(certain, sure_of_truth, labels, torch.tensor([1]), weights=one_hot)
        assert worst.item() == pytest.approx(9.21, abs=0.01) and best.item() == pytest.approx(-log(1.0001), abs=1e-6)


def test_where_the_attack_succeeds_the_third_and_fourth_term_agree(warm, clean):
    images, labels = pixels(clean), clean.labels[:64]
    targets = second_most_likely_class(warm(images), labels)
    attacked = targeted_pgd(warm, images, targets, radius=5.0, step_size=0.5, inner_steps=5, enough=1.0)
    with torch.no_grad():
        logits = warm(attacked)
    reached = logits.argmax(1) == targets
    assert reached.any() and torch.equal(second_most_likely_class(logits, labels)[reached], targets[reached])


def test_without_a_ball_the_second_term_is_the_clean_one(warm, clean):
    images, labels = pixels(clean), clean.labels[:64]
    with torch.no_grad():
        logits = warm(images)
    attacked = targeted_pgd(
        warm, images, second_most_likely_class(logits, labels), radius=0.0, step_size=0.1, inner_steps=2
    )
    with torch.no_grad():
        again = warm(attacked)
    second = polarizer_loss(logits, again, labels, labels, weights=(0.0, 1.0, 0.0, 0.0))
    assert second.item() == pytest.approx(F.cross_entropy(logits, logits.argmax(1)).item(), abs=1e-6)


def test_clean_loss_alone_is_plain_training_of_the_polarizer_and_keeps_the_backdoor(warm, clean, test_set, trigger):
    polarized, plain = polarize(warm, clean, SCHEDULE, ATTACK, loss_weights=(1.0, 0.0, 0.0, 0.0)), deepcopy(warm)
    train(plain, clean, SCHEDULE, optimizer=SCHEDULE.sgd(plain.polarizer.parameters()))
    assert torch.equal(weights(polarized), weights(plain))
    assert evaluate(polarized, test_set, trigger, target_label=0).asr > 0.9


def test_it_withstands_what_it_was_trained_against(warm, clean):
    """After training, the same small attack on the same images succeeds less often."""
    images, labels, succeeded = pixels(clean, 200), clean.labels, []
    for network in (warm, polarize(warm, clean, replace(SCHEDULE, epochs=10), ATTACK, **FAST)):
        targets = second_most_likely_class(network(images), labels)
        attacked = targeted_pgd(network, images, targets, radius=1.5, step_size=0.1, inner_steps=2)
        with torch.no_grad():
            succeeded.append((network(attacked).argmax(1) != labels).float().mean().item())
    assert succeeded[1] < succeeded[0]


def test_the_mindspore_port_pushes_down_its_own_answer(warm, clean):
    """One batch, one step: the gradients of the two variants, rebuilt from the stages."""
    batch = clean[torch.arange(32)]
    for variant in ("paper", "released"):
        network = deepcopy(warm)
        images = batch.images.float() / 255
        optimizer = torch.optim.SGD(network.polarizer.parameters(), 0.02, momentum=0.9, weight_decay=5e-4)
        logits = network(images)
        mask = -1e-10 if variant == "released" else -inf
        targets = second_most_likely_class(logits, batch.labels, mask=mask)
        attacked = targeted_pgd(network, images, targets, radius=1.5, step_size=0.1, inner_steps=2)
        last = logits.argmax(1) if variant == "released" else targets
        polarizer_loss(logits, network(attacked), batch.labels, last, weights=FAST["loss_weights"]).backward()
        optimizer.step()
        library = polarize(warm, batch, replace(SCHEDULE, epochs=1), ATTACK, variant=variant, **FAST)
        assert torch.allclose(weights(library), weights(network), atol=1e-5)


def test_npd_is_its_stages(warm, defended, backdoored, clean):
    events, schedule = EventLog(), dict(warm_up_epochs=2, epochs=2, learning_rate=0.02, batch_size=32)
    whole = npd(backdoored, clean, layer=LAYER, **BALL, **schedule, on_event=events)
    assert isinstance(whole, Polarized) and torch.equal(weights(whole), weights(defended))
    assert not torch.equal(weights(warm), weights(defended))
    assert events.counts == {"inserted": 1, "warmed_up": 1, "attack": 1, "epoch": 2}
    assert torch.equal(weights(events["warmed_up"]), weights(warm))


def test_after_the_last_map_it_is_a_new_last_layer(backdoored, clean):
    """Nothing but an average is between the polarizer and the head there, so a linear layer could replace both."""
    defended = npd(backdoored, clean, layer="pool", radius=1.5, warm_up_epochs=1, epochs=1, batch_size=32)
    conv, norm, images = defended.polarizer.conv, defended.polarizer.norm, clean.images[:50].float() / 255
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    with torch.no_grad(), tap(backdoored, "flatten") as pooled:
        backdoored(images)
        merged = (
            pooled["flatten"] @ (scale[:, None] * conv.weight[:, :, 0, 0]).T + norm.bias - scale * norm.running_mean
        )
        assert torch.allclose(backdoored.head(merged), defended(images), atol=1e-3)


def test_images_are_not_augmented(backdoored, clean):
    """Whatever enters the victim while a polarizer is made, with a ball of radius zero, is a stored image."""
    met, watched = [], deepcopy(backdoored)
    watched.register_forward_pre_hook(lambda module, inputs: met.append(inputs[0].detach()))
    npd(watched, clean, radius=0.0, warm_up_epochs=1, epochs=1, batch_size=32)
    stored = {tuple(image.flatten().tolist()) for image in clean.images.float() / 255}
    assert {tuple(image.flatten().tolist()) for image in torch.cat(met)} == stored


def test_what_is_measured(backdoored, start, warm, defended, clean, test_set, trigger):
    events = EventLog()
    events.update(inserted=start, warmed_up=warm, attack=ATTACK)
    measured = partial(measure, events=events, target_label=0)
    found = measured(backdoored, defended, clean, test_set, trigger)
    assert found["learned_parameters"] == 64**2 + 2 * 64
    assert found["learned_share"] == pytest.approx((64**2 + 2 * 64) / sum(p.numel() for p in backdoored.parameters()))
    assert found["mask_10_misses_after"] <= found["mask_1e-10_misses_after"]
    assert found["warm_up_logit_change"] > 0.01 and -1 <= found["change_follows_trigger"] <= 1
    changed = deepcopy(defended)
    changed.polarizer.norm.weight.data.zero_()
    changed.polarizer.norm.bias.data.zero_()
    other = measured(backdoored, changed, clean, test_set, trigger)
    kept = {name for name, value in found.items() if other.get(name) == value}
    assert {name for name in found if name.endswith("_before")} <= kept and "polarizer_trigger_shift_after" not in other
    twin = measured(backdoored, defended, clean, test_set, lambda images: images.clone())
    assert "change_follows_trigger" not in twin and twin["head_trigger_shift_after"] == 0


def test_nearest_class_and_shift_by_hand(start, test_set, trigger):
    reference, probes = two_parts(test_set)
    assert len(reference) == len(probes) == 200
    assert not torch.equal(reference.images[:50], probes.images[:50])
    with torch.no_grad(), tap(start, "polarizer") as seen:
        start(test_set.images.float() / 255)
    rows = seen["polarizer"].mean((2, 3))
    middles = torch.stack([rows[:200][reference.labels == k].mean(0) for k in range(4)])
    expected = (rows[200:, None] - middles).square().sum(2).argmin(1)
    assert torch.equal(nearest_class(start, reference, probes.images, "polarizer"), expected)
    assert trigger_shift(start, probes.images, trigger, "head") > 0
    truth = nearest_class(start, reference, probes.images, "head")
    assert (truth == probes.labels).float().mean() > 0.9


def test_the_plane_holds_the_largest_variance_with_settled_signs():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(200, 5, generator=generator) * torch.tensor([0.1, 3.0, 0.2, 1.0, 0.1]) + 2
    mean, directions = plane(rows)
    assert torch.allclose(mean, rows.mean(0)) and directions[1, 0] > 0.98 and directions[3, 1] > 0.98
    turned = plane(rows * torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0]))[1]
    assert torch.allclose(turned[[1, 3]].abs(), directions[[1, 3]].abs(), atol=1e-4) and turned[1, 0] > 0


@pytest.mark.parametrize("model", ["small_resnet", "wrn_16_1", "preact_resnet18", "resnet18"])
def test_the_default_layer_is_the_networks_own(model):
    network = MODELS[model](3, 4, (0.5,) * 3, (0.25,) * 3)
    polarized = insert(network, toy(1, 0))
    assert polarized.layer == {"small_resnet": LAYER, "wrn_16_1": "layer3.1.conv1"}.get(model, "layer4.1.conv1")
    assert insert(polarized, toy(1, 0)).layer == f"model.{polarized.layer}"  # also of a network in a wrapper


def test_a_network_of_ones_own_must_name_its_layer(clean):
    own = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4 * 14 * 14, 4))
    with pytest.raises(
        ParameterError, match=r"^layer=None: must be named for a network without a default; .* 0, 1, 2$"
    ):
        npd(own, clean)
    assert npd(own, clean, layer="0", warm_up_epochs=0, epochs=1).layer == "0"


def test_double_precision_works(backdoored, clean):
    double = npd(deepcopy(backdoored).double(), clean, radius=1.5, warm_up_epochs=1, epochs=1)
    assert weights(double).dtype == torch.float64 and torch.isfinite(weights(double)).all()


@pytest.mark.parametrize(
    "wrong", [{"loss_weights": (1.0, 0.4)}, {"step_size": 0.0}, {"variant": "relesed"}, {"radius": float("nan")}]
)
def test_values_out_of_range_are_one_line(backdoored, clean, wrong):
    (name,) = wrong
    with pytest.raises(ParameterError, match=rf"^{name}=.*: must be [^\n]*$"):
        npd(backdoored, clean, **wrong)


def test_one_image_a_class_is_enough_to_run(backdoored):
    few, _ = split(toy(40, 7), 0.001, seed=0)
    assert len(few) == 4
    assert torch.isfinite(weights(npd(backdoored, few, layer=LAYER, warm_up_epochs=1, epochs=1, radius=1.5))).all()
