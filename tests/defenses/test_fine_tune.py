"""The baseline, and the rule by which the control that all repairs share chooses its learning rate."""

import pytest
import torch

from bdlib.checks import ParameterError
from bdlib.data.images import split
from bdlib.defenses import DEFENSES
from bdlib.defenses.fine_tune import ALLOWED_DROP, HELD_OUT, RATES, fine_tune, highest_rate
from bdlib.experiments import notebooks
from bdlib.experiments.parameters import settings
from bdlib.models import accuracy
from bdlib.report.comparison import PAPERS
from bdlib.types import EventLog

FAST = dict(epochs=2, milestone=1, batch_size=32, augmentation=None)


def test_the_rate_is_the_highest_that_clean_accuracy_bears(backdoored, clean):
    events = EventLog()
    repaired = fine_tune(backdoored, clean, learning_rate=None, on_event=events, **FAST)
    rate, held_out = events["chosen"]["chosen_learning_rate"], events["chosen"]["held_out_accuracy"]
    part, rest = split(clean, HELD_OUT, seed=0)
    by_rate = {r: accuracy(fine_tune(backdoored, rest, learning_rate=r, **FAST), part) for r in RATES}
    bearable = [r for r, reached in by_rate.items() if reached >= accuracy(backdoored, part) - ALLOWED_DROP]
    assert rate == max(bearable) and held_out == by_rate[rate]
    same = fine_tune(backdoored, clean, learning_rate=rate, **FAST)
    assert all(torch.equal(a, b) for a, b in zip(repaired.parameters(), same.parameters(), strict=True))
    assert events.counts["epoch"] == FAST["epochs"]  # trials are not told


def test_rates_that_break_the_network_are_passed_over(backdoored, clean):
    tried = []

    def tuned(data, rate):
        tried.append(rate)
        if rate > 0.1:
            raise FloatingPointError("the loss is nan after epoch 0")
        return backdoored

    assert highest_rate(backdoored, clean, tuned, seed=0)[0] == 0.1 and tried == [0.3, 0.1]


def test_the_lowest_rate_is_taken_where_none_is_borne(backdoored, clean, make_model):
    rate, reached = highest_rate(backdoored, clean, lambda data, rate: make_model(), seed=0)
    assert rate == RATES[-1] and reached < 0.6


def test_one_image_a_class_leaves_none_to_train_on(backdoored, clean):
    first = torch.tensor([int((clean.labels == label).nonzero()[0]) for label in range(4)])
    with pytest.raises(ParameterError, match=r"\Aclean: the set of images is empty\Z"):
        fine_tune(backdoored, clean[first], learning_rate=None, **FAST)


@pytest.mark.parametrize("profile", ["quick", "paper"])
def test_no_chapter_on_repairs_has_more_epochs_than_the_shared_control(profile):
    control = {point["epochs"] for _, point in notebooks.study("comparison", profile, "shared_control")}
    for paper in PAPERS:
        own = settings(DEFENSES[paper], notebooks.parameters(paper, profile))
        assert min(control) >= sum(value for name, value in own.items() if name.endswith("epochs")), paper
