"""Two trainings with a filter between them, and the two defences that are made of it."""

import pytest
import torch

from bdlib.checks import ParameterError
from bdlib.defenses import DEFENSES
from bdlib.defenses.detectors import DETECTORS
from bdlib.training.filtering import train_filtered
from bdlib.training.loop import Schedule, train
from bdlib.types import EventLog

SCHEDULE = Schedule(2, 0.05, "one_cycle", batch_size=64, augmentation=None)
FAST = dict(training_epochs=2, training_rate=0.05, training_batch_size=64, augmentation=None)


@pytest.fixture(scope="module")
def seen(make_model, poisoned):
    """The network that is trained on all images, and only looked through."""
    return train(make_model(), poisoned.data, SCHEDULE)


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("key", "keywords"),
    [("spectral_signatures", dict(expected_share=0.2)), ("activation_clustering", dict(rule="relative_size"))],
)
def test_a_filter_is_its_detector_and_a_training_on_what_it_leaves(key, keywords, make_model, poisoned, seen):
    events = EventLog()
    found = DEFENSES[key](make_model, poisoned.data, **FAST, **keywords, on_event=events)
    flagged = DETECTORS[key](seen, poisoned.data, **keywords).flagged
    assert torch.equal(events["flagged"], flagged) and 0 < flagged.sum() < len(flagged)
    assert equal(found, train(make_model(), poisoned.data[~flagged], SCHEDULE))


def test_without_the_poison_no_backdoor_is_learned_and_an_empty_rest_is_refused(make_model, poisoned, seen):
    nothing = train_filtered(make_model, poisoned.data, lambda model, data: data.labels < 0, SCHEDULE)
    assert equal(nothing, seen)
    with pytest.raises(ParameterError, match=r"\Apoisoned: the filter leaves no image to train on\Z"):
        train_filtered(make_model, poisoned.data[:64], lambda model, data: data.labels >= 0, SCHEDULE)
