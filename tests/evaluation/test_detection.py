"""The scores of detectors, on cases whose result is known."""

from math import isnan

import pytest
import torch

from bdlib.checks import ParameterError
from bdlib.evaluation.detection import auroc, found_at, rate_after, rates

TRUTH = torch.tensor([True, True, False, False, False, False])


def test_a_constant_is_no_order_and_the_truth_a_perfect_one():
    assert auroc(torch.zeros(6), TRUTH) == 0.5
    assert auroc(TRUTH.double(), TRUTH) == 1 and auroc(-TRUTH.double(), TRUTH) == 0


def test_auroc_is_the_share_of_pairs_in_order():
    suspicion = torch.tensor([3.0, 1.0, 2.0, 1.0, 0.0, 0.0])
    pairs = [(a > b) + 0.5 * (a == b) for a in suspicion[TRUTH] for b in suspicion[~TRUTH]]
    assert auroc(suspicion, TRUTH) == pytest.approx(float(sum(pairs)) / 8)


def test_what_a_threshold_finds():
    suspicion = torch.tensor([3.0, 1.0, 2.0, 0.5, 0.0, 0.0])
    assert found_at(suspicion, TRUTH, false_positive_rate=0.0) == 0.5
    assert found_at(suspicion, TRUTH, false_positive_rate=0.25) == 1
    assert found_at(torch.zeros(6), TRUTH) == 0


def test_the_rates_of_a_decision():
    flagged = torch.tensor([True, False, True, False, False, False])
    assert rates(flagged, TRUTH) == {"tpr": 0.5, "fpr": 0.25, "flagged_share": pytest.approx(1 / 3)}


def test_the_rate_after_a_filter():
    assert rate_after(0.1, tpr=0.3, fpr=0.3) == pytest.approx(0.1)
    assert rate_after(0.1, tpr=1.0, fpr=0.5) == 0
    assert rate_after(0.2, tpr=0.5, fpr=0.0) == pytest.approx(0.1 / 0.9)
    assert isnan(rate_after(0.1, tpr=1.0, fpr=1.0))


@pytest.mark.parametrize(
    ("suspicion", "truth", "words"),
    [
        (torch.zeros(6), TRUTH & False, "is_poisoned: must have poisoned images and clean ones"),
        (torch.zeros(5), TRUTH, "is_poisoned: has 6 flags for 5 images"),
        (torch.full((6,), float("nan")), TRUTH, "suspicion: must be finite"),
    ],
)
def test_what_has_no_score_is_one_line(suspicion, truth, words):
    import jaxtyping

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        for score in (auroc, found_at):
            with pytest.raises(ParameterError, match=words):
                score(suspicion, truth)
