import pytest
import torch
from torch import nn

from bdlib.attacks.badnets import BadNets
from bdlib.data.images import ImageSet
from bdlib.evaluation.apply_trigger import AllToAll, AllToOne
from bdlib.evaluation.metrics import (
    PremiseWarning,
    Scores,
    broken_premises,
    defense_effectiveness,
    evaluate,
    evaluate_attack,
    robustness_improvement,
)
from bdlib.models import predict

VICTIM = Scores(0.9, 1.0, 0.0, 0.9)


class Reader(nn.Module):
    """Says the class that the first pixel holds, unless the corner is white: then class 0."""

    def forward(self, images):
        label = (images[:, 0, 0, 0] * 255).round().long()
        label[images[:, 0, -1, -1] == 1] = 0
        return nn.functional.one_hot(label, 3).float()


def test_scores_of_a_perfect_backdoor():
    images = torch.zeros(9, 1, 8, 8, dtype=torch.uint8)
    labels = torch.tensor([0, 1, 2] * 3)
    images[:, 0, 0, 0] = labels
    scores = evaluate(Reader(), ImageSet(images, labels), BadNets(), target_label=0)
    assert scores == Scores(clean_accuracy=1.0, asr=1.0, robust_accuracy=0.0, clean_accuracy_others=1.0)


def test_asr_and_robust_accuracy_share_their_images(backdoored, test_set, trigger):
    scores = evaluate(backdoored, test_set, trigger, target_label=0)
    assert scores.clean_accuracy > 0.95 and scores.asr > 0.9 and scores.asr + scores.robust_accuracy <= 1


def test_a_single_target_is_the_short_form_of_any_relabeling(backdoored, test_set, trigger):
    scores = evaluate(backdoored, test_set, trigger, target_label=1)
    assert scores == evaluate_attack(backdoored, test_set, trigger, AllToOne(1))


def test_under_all_to_all_every_test_image_counts():
    images, labels = torch.zeros(9, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 2] * 3)
    images[:, 0, 0, 0] = labels
    scores = evaluate_attack(Reader(), ImageSet(images, labels), BadNets(), AllToAll(3))
    assert scores.asr == scores.robust_accuracy == pytest.approx(1 / 3)  # all are taken for 0: next of 2, and 0 itself
    assert scores.clean_accuracy == scores.clean_accuracy_others == 1


def test_prediction_leaves_the_mode_as_it_was(backdoored, test_set):
    backdoored.train()
    predict(backdoored, test_set)
    assert backdoored.training
    backdoored.eval()


def test_effectiveness_known_values():
    assert defense_effectiveness(VICTIM, VICTIM) == 0.5
    assert defense_effectiveness(VICTIM, Scores(0.9, 0.0, 0.9, 0.9)) == 1.0
    assert defense_effectiveness(VICTIM, Scores(0.7, 0.5, 0.4, 0.7)) == pytest.approx((0.5 - 0.2 + 1) / 2)
    assert defense_effectiveness(VICTIM, Scores(0.95, 1.0, 0.0, 0.95)) == 0.5  # accuracy gained counts as nothing
    assert robustness_improvement(VICTIM, Scores(0.8, 0.5, 0.4, 0.8)) == pytest.approx((0.4 - 0.1 + 1) / 2)


def test_a_premise_that_fails_is_named_and_warned_about():
    with pytest.warns(PremiseWarning, match="attack is weak"):
        assert len(broken_premises(Scores(0.9, 0.5, 0.4, 0.9), VICTIM)) == 1
    with pytest.warns(PremiseWarning, match="fell by 20.0 points"):
        assert len(broken_premises(VICTIM, Scores(0.7, 0.0, 0.0, 0.7))) == 1
    assert broken_premises(VICTIM, VICTIM) == []
