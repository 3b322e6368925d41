"""Label-consistent poisoning: corners, perturbations within their ball, and labels that stay."""

import torch
from torch.nn.functional import cross_entropy

from bdlib.attacks.label_consistent import ATTACK, Corners, FittedCorners, perturbed
from bdlib.attacks.poisoning import poison
from bdlib.evaluation.apply_trigger import AllToOne

IMAGES = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
BALL = {"radius": ATTACK.radius, "steps": ATTACK.steps, "step_size": ATTACK.step_size}


def test_corners_are_the_released_boards_and_mirror_to_themselves():
    gray = torch.full((1, 1, 16, 16), 0.5)
    triggered = Corners()(gray)
    assert (triggered != gray).sum() == 36 and set(triggered[..., :3, :3].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(triggered, triggered.flip(3))
    checkerboard = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]])
    dark = {(0, 2): (0, 2), (0, -3): (0, 0), (-3, 2): (0, 2), (-3, -3): (0, 0)}  # in the image: in its corner's board
    for (row, column), inside in dark.items():
        rows, columns = (slice(None, 3) if at >= 0 else slice(-3, None) for at in (row, column))
        known = checkerboard.clone()
        known[inside] = 0
        assert triggered[0, 0, row, column] == 0 and torch.equal(triggered[0, 0, rows, columns], known)
    assert torch.equal(Corners(amplitude=0.0)(IMAGES), IMAGES)


def test_perturbed_images_stay_in_the_ball_and_mislead(backdoored, clean):
    x, y = clean.images.float() / 255, clean.labels
    hard = perturbed(backdoored, x, y, **BALL)
    assert (hard - x).abs().max() <= 16 / 255 + 1e-6 and hard.min() >= 0 and hard.max() <= 1
    assert cross_entropy(backdoored(hard), y) > 2 * cross_entropy(backdoored(x), y)
    assert torch.equal(hard, perturbed(backdoored, x, y, **BALL))


def test_label_consistent_poison_leaves_labels_and_stamps_perturbed_target_images(backdoored, clean):
    trigger = FittedCorners(backdoored, Corners())
    made = ATTACK.poison(clean, trigger, AllToOne(1), poison_rate=0.5, seed=0)
    plain = poison(clean, Corners(), target_label=1, poison_rate=0.5, seed=0, clean_label=True)
    assert torch.equal(made.data.labels, clean.labels) and torch.equal(made.is_poisoned, plain.is_poisoned)
    assert (clean.labels[made.is_poisoned] == 1).all()
    assert torch.equal(made.data.images[~made.is_poisoned], clean.images[~made.is_poisoned])
    apart = made.data.images[made.is_poisoned].float() - plain.data.images[made.is_poisoned].float()
    assert 0 < apart[..., 3:-3, 3:-3].abs().max() <= 16
