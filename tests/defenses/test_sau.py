"""The correctness checks of SAU: its inner problem, its unlearning loss, and the whole."""

from copy import deepcopy
from math import log

import pytest
import torch
import torch.nn.functional as F
from toy_task import STATISTICS, toy

from bdlib.attacks.none import NoTrigger
from bdlib.data.images import batches
from bdlib.defenses.fine_tune import fine_tune
from bdlib.defenses.sau.adversarial import flips, jensen_shannon, shared_adversarial_examples, sharing_loss
from bdlib.defenses.sau.method import rejection, sau, unlearning_loss
from bdlib.evaluation.metrics import evaluate
from bdlib.mechanisms import MECHANISMS
from bdlib.mechanisms.sau import answers, census, examples, first_of_others, wrong_answers
from bdlib.models import seeded, small_resnet
from bdlib.training.loop import Schedule, train
from bdlib.types import Batch

FAST = dict(epochs=2, learning_rate=1e-3, batch_size=50)
DATA = toy(40, seed=7)
IMAGES, LABELS = DATA.images.double() / 255, DATA.labels
BATCH = Batch(IMAGES, LABELS, torch.arange(len(LABELS)))
LOGITS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).double()


@pytest.fixture(scope="module")
def pair(backdoored, clean):
    """The frozen model and one that was trained on, in double precision, where signs of gradients are safe."""
    other = fine_tune(backdoored, clean, epochs=3, learning_rate=0.1, batch_size=32, augmentation=None)
    return deepcopy(other).double(), deepcopy(backdoored).double().requires_grad_(False)


@pytest.fixture(scope="module")
def twin():
    model = seeded(lambda: small_resnet(3, 4, *STATISTICS), seed=0)
    return train(model, toy(1000, seed=0), Schedule(4, 0.05, batch_size=64, augmentation=None))


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def plain_divergence(p, q):
    p, q = p.clamp(min=1e-8), q.clamp(min=1e-8)
    m = (p + q) / 2
    return 0.5 * (F.kl_div(m.log(), p, reduction="none") + F.kl_div(m.log(), q, reduction="none")).sum(1)


def plain_inner_problem(model, frozen, steps, beta_1=0.01, beta_2=1.0, epsilon=0.2, step=0.2):
    """The inner problem image by image, as the equations say it."""
    result = []
    for x, y in zip(IMAGES.split(1), LABELS.split(1), strict=True):
        d = torch.full_like(x, epsilon)
        c, c0 = model(x).argmax().item(), frozen(x).argmax().item()
        for _ in range(steps):
            d = d.detach().requires_grad_()
            h, h0 = model(x + d), frozen(x + d)
            a, a0 = h.argmax().item(), h0.argmax().item()
            loss = 0 * d.sum()
            if a == c:
                loss = loss - beta_1 / 2 * F.cross_entropy(h, y)
            if a0 == c0:
                loss = loss - beta_1 / 2 * F.cross_entropy(h0, y)
            if not (a != c and a0 != c0 and a == a0):
                loss = loss + beta_2 * plain_divergence(h.softmax(1), h0.softmax(1)).sum()
            (gradient,) = torch.autograd.grad(loss, d)
            d = torch.clamp(d - step * torch.sign(gradient), -epsilon, epsilon)
        result.append(d.detach())
    return torch.cat(result)


def test_divergence_known_values_symmetry_and_bounds():
    one, other = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.9, 0.1]]).log()
    expected = 0.5 * (0.5 * log(0.5 / 0.7) + 0.5 * log(0.5 / 0.3) + 0.9 * log(0.9 / 0.7) + 0.1 * log(0.1 / 0.3))
    assert jensen_shannon(one, other).item() == pytest.approx(expected, abs=1e-6)
    assert jensen_shannon(torch.tensor([[99.0, 0.0]]), torch.tensor([[0.0, 99.0]])).item() == pytest.approx(
        log(2), 1e-5
    )
    apart = jensen_shannon(LOGITS, LOGITS.flip(0))
    assert torch.allclose(apart, plain_divergence(LOGITS.softmax(1), LOGITS.flip(0).softmax(1)), atol=1e-5)
    assert torch.allclose(apart, jensen_shannon(LOGITS.flip(0), LOGITS))
    assert ((apart > 0) & (apart < log(2))).all() and (jensen_shannon(LOGITS, LOGITS + 3).abs() < 1e-6).all()


def test_at_the_start_both_models_agree_and_there_is_nothing_to_unlearn(backdoored):
    images = IMAGES.float()
    same = deepcopy(backdoored)
    logits = same(images)
    assert torch.equal(logits, backdoored(images)) and (jensen_shannon(logits, logits) == 0).all()
    assert not any(mask.any() for mask in flips(logits, logits, logits, logits))
    batch = Batch(images, LABELS, BATCH.ids)
    loss = unlearning_loss(same, backdoored, batch, torch.zeros_like(images), lambda_3=1e3)
    assert loss.item() == pytest.approx(F.cross_entropy(logits, LABELS).item(), abs=1e-5)


def test_equal_models_share_whatever_fools_them(backdoored):
    images, same = IMAGES.float(), deepcopy(backdoored)
    for steps in (1, 2, 3):
        shift = shared_adversarial_examples(same, backdoored, images, LABELS, inner_steps=steps)
        said = answers(same, backdoored, images, images + shift)
        who = flips(*said)
        assert who.model.any() and torch.equal(who.shared, who.model) and torch.equal(who.shared, who.frozen)


def test_the_inner_problem_is_that_of_the_equations(pair):
    for settings in ({}, {"beta_2": 0.0}, {"beta_1": 0.0}):
        ours = shared_adversarial_examples(*pair, IMAGES, LABELS, inner_steps=3, **settings)
        assert (ours - plain_inner_problem(*pair, 3, **settings)).abs().max() < 1e-5


def test_the_sharing_loss_by_hand(pair):
    shift = shared_adversarial_examples(*pair, IMAGES, LABELS, inner_steps=1)
    h, h0 = (model(IMAGES + shift).detach() for model in pair)
    who = flips(h, h0, *(model(IMAGES) for model in pair))
    total = 0.0
    for i in range(len(h)):
        total -= 0.0 if who.model[i] else 0.3 / 2 * F.cross_entropy(h[i], LABELS[i]).item()
        total -= 0.0 if who.frozen[i] else 0.3 / 2 * F.cross_entropy(h0[i], LABELS[i]).item()
        apart = plain_divergence(h[i : i + 1].softmax(1), h0[i : i + 1].softmax(1)).item()
        total += 0.0 if who.shared[i] else 2 * apart
    assert who.model.any() and not who.model.all()
    assert sharing_loss(h, h0, LABELS, who, beta_1=0.3, beta_2=2.0).item() == pytest.approx(total / len(h), abs=1e-6)


def test_perturbations_stay_in_their_box_and_on_the_grid(pair):
    for steps in (1, 2, 5):
        shift = shared_adversarial_examples(*pair, IMAGES, LABELS, inner_steps=steps)
        distance = (shift[..., None] - torch.tensor([-0.2, 0.0, 0.2])).abs().amin(-1)
        assert distance.max() < 1e-6
        finer = shared_adversarial_examples(*pair, IMAGES, LABELS, inner_steps=steps, epsilon=0.1, step_size=0.03)
        assert finer.abs().max() <= 0.1 and (finer != 0.1).any()


def test_what_is_shared_keeps_its_perturbation(pair):
    early, late = (shared_adversarial_examples(*pair, IMAGES, LABELS, inner_steps=steps) for steps in (2, 5))
    who = flips(*answers(*pair, IMAGES, IMAGES + early))
    assert who.shared.any() and not who.shared.all()
    assert torch.equal(early[who.shared], late[who.shared]) and not torch.equal(early, late)


def test_the_inner_problem_leaves_no_gradient_in_any_weight(pair):
    shared_adversarial_examples(*pair, IMAGES, LABELS)
    assert all(p.grad is None for model in pair for p in model.parameters())


def test_half_precision_keeps_the_weights_gradients(backdoored):
    """Under autocast, weights cast during a pass without gradient must not be used again in one with it."""
    model, batch = deepcopy(backdoored), Batch(IMAGES.float(), LABELS, BATCH.ids)
    with torch.autocast("cpu", torch.bfloat16):
        shift = shared_adversarial_examples(model, backdoored, batch.images, LABELS, inner_steps=1)
        unlearning_loss(model, backdoored, batch, shift).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_rejection_known_value_and_gradient():
    given = torch.tensor([0, 1, 2, 3, 0, 1])
    logits = LOGITS.clone().requires_grad_()
    p = logits.softmax(1)[torch.arange(6), given]
    value = rejection(logits, given)
    assert torch.allclose(value, -torch.log(1 - p), atol=1e-8) and (value >= 0).all()
    assert torch.allclose(rejection(logits, given, variant="released"), value, atol=1e-5)
    (value.sum() / 6).backward()
    assert torch.allclose(logits.grad[torch.arange(6), given], p / 6)  # descent lowers the logit that is given up


def test_the_released_clamps_stop_the_gradient_at_both_ends():
    logits = torch.tensor([[-9.0, 0.0], [0.0, 0.0], [30.0, 0.0]], requires_grad=True)
    gradients = {}
    for variant in ("paper", "released"):
        (gradient,) = torch.autograd.grad(rejection(logits, torch.zeros(3).long(), variant=variant).sum(), logits)
        gradients[variant] = gradient[:, 0].tolist()
    assert gradients["paper"] == pytest.approx([1 / (1 + torch.tensor(9.0).exp().item()), 0.5, 1.0], rel=1e-4)
    assert gradients["released"] == pytest.approx([0.0, 0.5, 0.0], abs=1e-4)


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_the_unlearning_loss_by_hand(pair, variant):
    model, frozen = pair
    shift = shared_adversarial_examples(model, frozen, IMAGES, LABELS, inner_steps=2)
    h, h0, c0 = model(IMAGES + shift).softmax(1), frozen(IMAGES + shift).argmax(1), frozen(IMAGES).argmax(1)
    total, members = 0.0, 0
    for i in range(len(LABELS)):
        if h0[i] not in (LABELS[i], c0[i]):
            members += 1
            p = h[i, h0[i]].item()
            halves = log(1e-6 + min(1 - p, 0.999)), log(1 + 1e-6 - max(p, 0.001))
            total -= log(1 - p) if variant == "paper" else sum(halves) / 2
    expected = F.cross_entropy(model(IMAGES), LABELS) + 0.5 * F.cross_entropy(model(IMAGES + shift), LABELS)
    expected = expected.item() + 2 * total / len(LABELS)
    assert 0 < members < len(LABELS)  # else the denominator could be either
    ours = unlearning_loss(model, frozen, BATCH, shift, lambda_2=0.5, lambda_3=2.0, variant=variant)
    assert ours.item() == pytest.approx(expected, abs=1e-5)


def by_hand(model, clean, *, adversarial, epochs=2, learning_rate=1e-3, batch_size=50):
    """Fine-tuning by Adam in evaluation mode; `adversarial` adds the cross-entropy on shared adversarial examples."""
    frozen, student = deepcopy(model), deepcopy(model)
    adam = torch.optim.Adam(student.parameters(), lr=learning_rate, amsgrad=True)
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for images, labels, _ in batches(clean, batch_size, generator=generator):
            loss = F.cross_entropy(student(images), labels)
            if adversarial:
                shift = shared_adversarial_examples(student, frozen, images, labels, inner_steps=1)
                loss = loss + F.cross_entropy(student(images + shift), labels)
            adam.zero_grad()
            loss.backward()
            adam.step()
    return student


def test_without_unlearning_it_is_fine_tuning_or_adversarial_training(backdoored, clean):
    plain = sau(backdoored, clean, lambda_3=0.0, **FAST)
    assert torch.allclose(weights(plain), weights(by_hand(backdoored, clean, adversarial=False)), atol=1e-5)
    hardened = sau(backdoored, clean, lambda_2=1.0, lambda_3=0.0, inner_steps=1, **FAST)
    expected = weights(by_hand(backdoored, clean, adversarial=True))
    assert torch.allclose(weights(hardened), expected, atol=1e-3)
    assert (weights(hardened) - expected).abs().mean() < (weights(hardened) - weights(plain)).abs().mean() / 20


def test_no_perturbation_is_fine_tuning(backdoored, clean):
    once = FAST | {"epochs": 1}
    none, plain = sau(backdoored, clean, epsilon=0.0, **once), sau(backdoored, clean, lambda_3=0.0, **once)
    assert (weights(none) - weights(plain)).abs().max() < 1e-4 < (weights(none) - weights(backdoored)).abs().max()


def test_batch_norm_statistics_move_in_train_mode_only(backdoored, clean):
    once = FAST | {"epochs": 1, "inner_steps": 1}
    for train_mode in (False, True):
        student = sau(backdoored, clean, train_mode=train_mode, **once)
        moved = [not torch.equal(b, dict(backdoored.named_buffers())[name]) for name, b in student.named_buffers()
                 if "running" in name]  # fmt: skip
        assert all(moved) if train_mode else not any(moved)
        assert not torch.equal(
            student.get_parameter("layer1.0.bn1.weight"), backdoored.get_parameter("layer1.0.bn1.weight")
        )


def test_the_frozen_model_stays_as_it_was(pair):
    model, frozen = deepcopy(pair[0]), pair[1]
    before = deepcopy(frozen.state_dict())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(2):
        shift = shared_adversarial_examples(model, frozen, IMAGES, LABELS)
        optimizer.zero_grad()
        unlearning_loss(model, frozen, BATCH, shift).backward()
        optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in frozen.state_dict().items())
    assert all(p.grad is None for p in frozen.parameters())


def test_the_repair_on_the_toy_task(backdoored, clean, test_set, trigger):
    """It lowers the attack's success and shares fewer examples with the victim than its control does."""
    settings, rounds = FAST | {"epochs": 3, "inner_steps": 2}, []
    repaired = sau(backdoored, clean, on_event=lambda _, epoch: rounds.append(deepcopy(epoch.model)), **settings)
    control = sau(backdoored, clean, lambda_3=0.0, **settings)
    assert len(rounds) == 3 and not any(model.training for model in rounds)
    assert torch.equal(weights(rounds[-1]), weights(repaired))
    asr = [evaluate(m, test_set, trigger, target_label=0).asr for m in (backdoored, repaired)]
    assert asr[0] > 0.9 and asr[1] < 0.1
    images, labels = first_of_others(test_set, target_label=0, count=60)
    shared = [
        census(answers(m, backdoored, images, examples(m, backdoored, images, labels)))["shared"]
        for m in (backdoored, control, repaired)
    ]
    assert shared[2] < shared[1] <= shared[0]


def test_a_model_without_a_backdoor_keeps_its_accuracy(twin, clean, test_set):
    repaired = sau(twin, clean, **FAST | {"epochs": 1, "inner_steps": 2})
    before, after = (evaluate(m, test_set, NoTrigger(), target_label=0).clean_accuracy for m in (twin, repaired))
    measured = MECHANISMS["sau"](twin, repaired, clean, test_set, NoTrigger(), target_label=0)
    assert after > before - 0.05
    assert all(0 <= value <= 1 for value in measured.values())
    assert measured["shared_before"] == measured["fooled_before"] > 0
    assert sum(measured[f"{name}_after"] for name in ("shared", "sole", "neither")) == pytest.approx(1)


def test_the_census_counts_everyone_once(pair):
    shift = shared_adversarial_examples(*pair, IMAGES, LABELS, inner_steps=2)
    shift[:5] = 0
    said = answers(*pair, IMAGES, IMAGES + shift)
    counted, rows = census(said), {"shared": 0, "sole": 0, "neither": 0}
    for h, h0, c, c0 in zip(*(logits.argmax(1).tolist() for logits in said), strict=True):
        if h == c and h0 == c0:
            rows["neither"] += 1
        else:
            rows["shared" if h != c and h0 != c0 and h == h0 else "sole"] += 1
    assert all(counted[name] == pytest.approx(count / len(LABELS)) for name, count in rows.items())
    assert rows["shared"] and rows["neither"]


def test_wrong_answers_are_shares_of_the_flipped(backdoored, test_set):
    images, labels = first_of_others(test_set, target_label=0, count=60)
    assert len(images) == 60 and (labels != 0).all()
    said = answers(backdoored, backdoored, images, examples(backdoored, backdoored, images, labels))
    wrong = said.frozen.argmax(1)[(said.frozen.argmax(1) != labels)]
    expected = torch.stack([(wrong == k).float().mean() for k in range(4)])
    assert torch.allclose(wrong_answers(said, labels), expected, atol=0.05)
    assert wrong_answers(answers(backdoored, backdoored, images, images), labels).sum() == 0
