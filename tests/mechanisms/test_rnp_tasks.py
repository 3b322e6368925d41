"""What the unlearned model is worth to other tasks, on models whose answers are known."""

import pytest
import torch
from torch import nn

from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import apply_trigger
from bdlib.evaluation.metrics import evaluate
from bdlib.mechanisms.rnp_tasks import detection_auc, errors_at, likeness, other_tasks, recover_trigger


class Fixed(nn.Module):
    """Gives every image the same class, and the first one to an image whose first pixel is white."""

    def __init__(self, guess):
        super().__init__()
        self.guess, self.weight = guess, nn.Parameter(torch.ones(()))

    def forward(self, images):
        logits = torch.zeros(len(images), 4)
        logits[:, self.guess] = 1
        logits[:, 0] += 5 * images[:, 0, 0, 0]
        return logits * self.weight


def white_pixel(images):
    changed = images.clone()
    changed[:, :, 0, 0] = 1
    return changed


@pytest.fixture
def images():
    drawn = torch.randint(0, 100, (40, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    drawn[:, :, 0, 0] = 0
    return ImageSet(drawn, torch.arange(40) % 4)


def test_errors_are_counted_over_the_other_classes(images):
    assert errors_at(Fixed(0), images, 0) == 1.0 and errors_at(Fixed(1), images, 0) == 0.0
    right = images[images.labels == 2]
    assert errors_at(Fixed(2), right, 0) != errors_at(Fixed(2), right, 0)  # nan: no error to count


def test_likeness_is_the_cosine_of_the_mean_changes(images):
    assert likeness(white_pixel, white_pixel, images) == pytest.approx(1, abs=1e-5)
    assert likeness(lambda x: torch.cat([x[..., :8], x[..., 8:] * 0], -1), white_pixel, images) < 0.05
    assert likeness(lambda x: x, white_pixel, images) == 0


def test_a_search_finds_the_pixel_that_the_model_obeys(images):
    found, model = recover_trigger(Fixed(1), images, target_label=0), Fixed(1)
    changed = apply_trigger(images.images, found)
    assert (changed[:, :, 0, 0] > 100).all() or evaluate(model, images, found, target_label=0).asr == 1
    assert evaluate(model, images, found, target_label=0).asr == 1
    assert model.weight.grad is None


def test_a_triggered_image_keeps_its_class_where_the_clean_task_is_forgotten(images):
    """The scorer has forgotten class 1 and still obeys the trigger; the model itself cannot tell."""
    model, scorer = Fixed(1), Fixed(3)
    assert detection_auc(scorer, model, images, white_pixel, target_label=0) == 1.0
    assert detection_auc(scorer, model, images, lambda x: x, target_label=0) == pytest.approx(0.5)


def test_both_models_are_measured_and_nothing_is_changed(backdoored, clean, test_set, trigger):
    before = [p.clone() for p in backdoored.parameters()]
    measured = other_tasks(backdoored, backdoored, clean, test_set[:100], trigger, target_label=0)
    names = ("recovered_likeness", "recovered_asr", "detection_auc")
    assert measured.keys() == {*names, *(f"victim_{name}" for name in names)}
    assert all(measured[name] == measured[f"victim_{name}"] for name in names)  # the same network twice
    assert all(torch.equal(a, b) for a, b in zip(before, backdoored.parameters(), strict=True))
