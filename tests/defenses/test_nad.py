"""The correctness checks of NAD's equations, and of the two stages."""

from copy import deepcopy

import pytest
import torch
from toy_task import toy

from bdlib.checks import ParameterError
from bdlib.data.images import ImageSet
from bdlib.defenses.fine_tune import fine_tune
from bdlib.defenses.nad import attention, attention_distance, distill, nad
from bdlib.models import MODELS, tap
from bdlib.types import EventLog

LAYERS = ("layer1", "layer2", "layer3")
FAST = dict(learning_rate=0.05, milestone=1, batch_size=32, augmentation=None)
MAPS = torch.rand(3, 4, 5, 5, generator=torch.Generator().manual_seed(0)) - 0.5


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.state_dict().values()])


def test_known_values():
    features = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[-1.0, 0.0], [0.0, 2.0]]]])
    assert torch.allclose(attention(features, 2.0), torch.tensor([[0.0894, 0.1787, 0.4021, 0.8935]]), atol=1e-4)
    assert torch.allclose(attention(features, 1.0), torch.tensor([[0.2747, 0.2747, 0.4121, 0.8242]]), atol=1e-4)
    assert attention_distance(features, torch.ones_like(features), 2.0).item() == pytest.approx(0.10908, abs=1e-5)


def test_attention_is_blind_to_channel_order_sign_and_scale():
    expected = attention(MAPS)
    signs = torch.tensor([1.0, -1.0, -1.0, 1.0])[:, None, None]
    for changed in (MAPS[:, [2, 0, 3, 1]], MAPS * signs, MAPS * -7):
        assert torch.allclose(attention(changed), expected, atol=1e-5)
    assert torch.allclose(expected.norm(dim=1), torch.ones(3), atol=1e-4)


def test_distance_is_a_mean_bounded_and_zero_on_itself():
    other = MAPS.flip(0)
    assert attention_distance(MAPS, MAPS) == 0
    assert 0 < attention_distance(MAPS, other) <= 2 / 25
    doubled = attention_distance(MAPS.repeat(2, 1, 1, 1), other.repeat(2, 1, 1, 1))
    assert doubled.item() == pytest.approx(attention_distance(MAPS, other).item(), abs=1e-7)


def test_one_pixel_maps_carry_no_signal_and_are_refused():
    one = torch.rand(4, 8, 1, 1, requires_grad=True)
    energy = one.pow(2).sum(1).flatten(1)
    (energy / (energy.norm(dim=1, keepdim=True) + 1e-6)).sum().backward()
    assert one.grad.abs().max() < 1e-4
    with pytest.raises(ValueError, match="larger than one pixel, not .4, 8, 1, 1."):
        attention(one, 2.0)


def test_a_transformers_tokens_are_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^layers: attention needs maps of shape \(n, c, h, w\) .*, not \(2, 5, 8\)$"):
        attention(torch.rand(2, 5, 8))


def test_all_weights_zero_is_fine_tuning_bit_for_bit(backdoored, clean):
    student = nad(backdoored, clean, layers=LAYERS, beta=(0.0,) * 3, teacher_epochs=1, student_epochs=2, **FAST)
    control = fine_tune(backdoored, clean, epochs=2, **FAST)
    assert torch.equal(weights(student), weights(control))


def test_the_released_defect_is_fine_tuning_bit_for_bit(backdoored, clean):
    released = nad(backdoored, clean, layers=LAYERS, variant="released", teacher_epochs=1, student_epochs=2, **FAST)
    control = fine_tune(backdoored, clean, epochs=2, **FAST)
    assert torch.equal(weights(released), weights(control))


def test_the_distillation_reaches_the_first_layer(backdoored, clean):
    """A changed weight of the first layer's distance changes its filters: what the detached loss never did."""
    teacher = fine_tune(backdoored, clean, epochs=1, seed=1, **FAST)
    students = [
        distill(backdoored, teacher, clean, layers=LAYERS, beta=(b, 0.0, 0.0), epochs=1, **FAST) for b in (50.0, 500.0)
    ]
    first = [student.get_parameter("layer1.0.conv1.weight") for student in students]
    assert not torch.equal(*first)


def test_the_teacher_is_left_alone_and_differs_from_the_student_at_the_start(backdoored, clean):
    teacher = fine_tune(backdoored, clean, epochs=1, seed=1, **FAST)
    before = deepcopy(teacher.state_dict())
    images = clean.images[:8].float() / 255
    with torch.no_grad(), tap(teacher, "layer3") as ours, tap(backdoored, "layer3") as theirs:
        teacher(images), backdoored(images)
    assert attention_distance(ours["layer3"], theirs["layer3"]) > 0
    teacher.zero_grad()
    distill(backdoored, teacher, clean, layers=LAYERS, epochs=1, **FAST)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert all(p.grad is None for p in teacher.parameters())


def test_the_student_is_pulled_towards_the_teacher(backdoored):
    data = toy(100, 5)
    teacher = fine_tune(backdoored, data, epochs=2, seed=1, **FAST)
    apart, gentle = [], FAST | {"learning_rate": 0.01, "milestone": 5}
    for scale in (0.0, 30.0):
        student = distill(backdoored, teacher, data, layers=LAYERS, beta=(scale,) * 3, epochs=5, **gentle)
        with torch.no_grad(), tap(student, "layer3") as ours, tap(teacher, "layer3") as theirs:
            student(data.images.float() / 255), teacher(data.images.float() / 255)
        apart.append(attention_distance(ours["layer3"], theirs["layer3"]).item())
    assert apart[1] < apart[0]


def test_nad_is_its_two_stages(backdoored, clean):
    events, ten = EventLog(), (10.0,) * 3
    whole = nad(backdoored, clean, beta=ten, teacher_epochs=1, student_epochs=1, seed=3, on_event=events, **FAST)
    teacher = fine_tune(backdoored, clean, epochs=1, seed=4, **FAST)
    student = distill(backdoored, teacher, clean, layers=LAYERS, beta=(10.0,) * 3, epochs=1, seed=3, **FAST)
    assert torch.equal(weights(whole), weights(student))
    assert torch.equal(weights(events["teacher"]), weights(teacher)) and events["epoch"].model is whole


@pytest.mark.parametrize(("model", "layers"), [("preact_resnet18", ["layer2", "layer3", "layer4"]), ("vgg19_bn", None)])
def test_default_layers_come_with_the_network(model, layers):
    network, once = MODELS[model](3, 4, (0.5,) * 3, (0.25,) * 3), dict(teacher_epochs=1, student_epochs=1)
    images = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    clean = ImageSet(images, torch.arange(4))
    if layers is None:
        with pytest.raises(
            ParameterError, match="^layers=None: must be named for a network without a default; it has fea"
        ):
            nad(network, clean, **once)
    else:
        default, named = (nad(network, clean, layers=names, **once) for names in (None, layers))
        assert torch.equal(weights(default), weights(named))


def test_a_layer_that_does_not_exist_is_refused_before_the_teacher_is_trained(backdoored, clean):
    with pytest.raises(ParameterError, match=r"^layers='layer4': must be a layer; there are normalize, stem, layer1"):
        nad(backdoored, clean, layers=["layer2", "layer3", "layer4"], on_event=lambda *_: pytest.fail("too late"))


def test_a_weight_for_each_layer(backdoored, clean):
    with pytest.raises(ParameterError, match=r"^beta=\[1.0\]: must have 3 numbers, one for each of layer1, layer2"):
        nad(backdoored, clean, layers=LAYERS, beta=(1.0,), teacher_epochs=1, student_epochs=1, **FAST)
