"""The work of a defense, counted while it runs."""

import pytest
import torch
from torch import nn

from bdlib.checks import ParameterError
from bdlib.data.passes import Passes, count_passes, uncounted
from bdlib.defenses import DEFENSES
from bdlib.evaluation.course import Course
from bdlib.models import accuracy, predict
from bdlib.training.filter_masks import THRESHOLDS

PLAIN = dict(epochs=2, learning_rate=0.02, batch_size=50, augmentation=None)


@pytest.fixture
def spent(backdoored, clean):
    """The passes of a repair of the toy victim, over its clean images."""

    def measure(key, **settings):
        with count_passes() as passes:
            DEFENSES[key](backdoored, clean, **settings)
        return passes.forward / len(clean), passes.backward / len(clean)

    return measure


def test_fine_tuning_takes_one_pass_each_way_an_epoch(spent):
    assert spent("fine_tune", **PLAIN) == (2, 2)


def test_sharpness_awareness_takes_two_gradients_a_step(spent):
    assert spent("ft_sam", rho=0.5, **PLAIN) == (4, 4)
    assert spent("ft_sam", rho=0.0, **PLAIN) == (2, 2)


def test_a_teacher_and_its_making_count(spent):
    settings = {name: value for name, value in PLAIN.items() if name != "epochs"}
    assert spent("nad", teacher_epochs=1, student_epochs=2, beta=(1.0,) * 3, **settings) == (1 + 2 * 2, 1 + 2)


def test_the_inner_attack_and_the_warm_up_count(spent):
    """Each step of NPD's training: the clean images, the steps of the attack, and the attacked images."""
    settings = dict(warm_up_epochs=1, epochs=2, batch_size=50, radius=0.1)  # too small for an attack that ends early
    assert spent("npd", inner_steps=1, **settings) == (1 + 2 * 3, 1 + 2 * 3)
    assert spent("npd", inner_steps=2, **settings) == (1 + 2 * 4, 1 + 2 * 4)


def test_a_sweep_of_thresholds_counts(backdoored, clean):
    """RNP tries thresholds from the highest down, and compares with the victim's own accuracy."""
    tried = []
    settings = dict(unlearning_epochs=0, recovery_epochs=3, batch_size=50, augmentation=None)
    with count_passes() as passes:
        DEFENSES["rnp"](backdoored, clean, **settings,
                        on_event=lambda name, value: tried.append(value) if name == "threshold" else None)  # fmt: skip
    sweep = 1 + [*reversed(THRESHOLDS), -1.0].index(tried[0]) + (tried[0] >= 0)
    assert passes == Passes((3 + sweep) * len(clean), 3 * len(clean))


def test_a_wrapped_network_counts_once_and_a_layer_not_at_all(backdoored, clean):
    images = clean.images[:7].float() / 255
    with count_passes() as passes, torch.no_grad():
        nn.Sequential(nn.Identity(), backdoored)(images)
        backdoored.head(torch.zeros(3, backdoored.head.in_features))
    assert passes == Passes(7, 0)


def test_a_gradient_of_pixels_is_a_backward_pass_and_each_call_counts(backdoored, clean):
    images = (clean.images[:5].float() / 255).requires_grad_()
    with count_passes() as passes:
        loss = backdoored(images).sum()
        torch.autograd.grad(loss, images, retain_graph=True)
        loss.backward()
    assert passes == Passes(5, 10)


def test_a_compiled_network_counts_as_it_does_uncompiled(backdoored, clean):
    compiled = torch.compile(backdoored, backend="eager")
    images = clean.images[:6].float() / 255
    with count_passes() as passes:
        for _ in range(2):
            compiled(images).sum().backward()
    backdoored.zero_grad()
    assert passes == Passes(12, 12)


def test_an_error_in_a_network_does_not_disturb_the_count(backdoored, clean):
    with count_passes() as passes:
        with pytest.raises(ParameterError):
            backdoored(torch.zeros(1, 3, 16))
        accuracy(backdoored, clean)
    assert passes == Passes(len(clean), 0)


def test_who_looks_on_and_who_comes_later_are_not_counted(backdoored, clean):
    with count_passes() as passes:
        with uncounted():
            predict(backdoored, clean)
        Course(lambda model: accuracy(model, clean), "look")("look", backdoored)
    predict(backdoored, clean)
    assert passes == Passes() and not backdoored._forward_hooks


def test_counting_changes_no_number(backdoored, clean):
    plain = DEFENSES["fine_tune"](backdoored, clean, **PLAIN)
    with count_passes():
        counted = DEFENSES["fine_tune"](backdoored, clean, **PLAIN)
    assert all(
        torch.equal(a, b) for a, b in zip(plain.state_dict().values(), counted.state_dict().values(), strict=True)
    )
