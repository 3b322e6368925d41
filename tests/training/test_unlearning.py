"""Gradient ascent, step by step."""

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch.optim import SGD

from bdlib.data.images import batches
from bdlib.training.loop import Schedule
from bdlib.training.unlearning import ascend

SCHEDULE = Schedule(2, 3e-3, "constant", batch_size=64, weight_decay=0.0, augmentation=None, seed=3)


def test_ascent_is_descent_on_minus_the_cross_entropy_and_counts_what_was_correct(backdoored, clean):
    climbed, by_hand = deepcopy(backdoored), deepcopy(backdoored).train().to(memory_format=torch.channels_last)
    optimizer, generator = SGD(by_hand.parameters(), 3e-3, momentum=0.9), torch.Generator().manual_seed(3)
    told = [(step.number, share) for step, share in ascend(climbed, clean, SCHEDULE)]
    expected = []
    for _ in range(2):
        correct = total = 0
        for batch in batches(clean, 64, generator=generator):
            optimizer.zero_grad()
            logits = by_hand(batch.images)
            correct, total = correct + (logits.argmax(1) == batch.labels).sum().item(), total + len(batch.labels)
            (-F.cross_entropy(logits, batch.labels)).backward()
            optimizer.step()
            expected.append((len(expected), correct / total))
    assert told == expected
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(climbed.parameters(), by_hand.parameters(), strict=True))
    assert not climbed.training


def test_break_ends_the_ascent_and_leaves_the_model_in_evaluation_mode(backdoored, clean):
    model, taken = deepcopy(backdoored), 0
    for step, _ in ascend(model, clean, SCHEDULE):
        taken += 1
        if step.number == 2:
            break
    assert taken == 3 and not model.training
