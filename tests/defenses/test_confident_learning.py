"""Confident learning, as cleanlab has it, on cases whose answer follows by hand; and what happens without cleanlab."""

import sys

import pytest
import torch
from torch import nn

from bdlib.checks import ParameterError
from bdlib.data.images import ImageSet
from bdlib.defenses.detectors.confident_learning import confident_learning, label_issues, probabilities

GIVEN = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
SURE_OF_1 = [0.1, 0.1, 0.6, 0.9, 0.9, 0.9, 0.9, 0.9]
ROWS = torch.tensor([[1 - p, p] for p in SURE_OF_1], dtype=torch.float64)


class Told(nn.Module):
    """A network that says of an image what a table has for the value of its first pixel."""

    def __init__(self, rows):
        super().__init__()
        self.logits = nn.Parameter(rows.log().float())

    def forward(self, images):
        return self.logits[(images[:, 0, 0, 0] * 255).round().long() % len(self.logits)]


def numbered(labels):
    images = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4).contiguous()
    return ImageSet(images, labels)


def test_the_answer_is_the_one_that_follows_by_hand():
    """Class 0 is sure of itself by (0.9 + 0.9 + 0.4 + 0.1) / 4 = 0.575 on average, class 1 by 0.9.

    So the fourth image, with 0.9, counts for class 1, and the third, with 0.6, for neither. Of three images of label 0
    that count, one counts for class 1: of four labels, 1.33 are wrong, rounded to one, the least likely.
    """
    assert label_issues(GIVEN, ROWS).tolist() == [False, False, False, True, False, False, False, False]
    most_probable = label_issues(GIVEN, ROWS, rule="predicted_neq_given")
    assert most_probable.tolist() == [False, False, True, True, False, False, False, False]


def test_labels_that_nobody_doubts_are_right():
    rows = torch.tensor([[0.9, 0.1]] * 4 + [[0.2, 0.8]] * 4)
    assert not label_issues(GIVEN, rows).any()


def test_a_network_is_asked_and_the_suspicion_is_what_it_leaves_to_other_labels():
    data = numbered(GIVEN)
    found = confident_learning(Told(ROWS), data)
    assert torch.allclose(probabilities(Told(ROWS), data), ROWS, atol=1e-6)
    assert found.suspicion.tolist() == pytest.approx([0.1, 0.1, 0.6, 0.9, 0.1, 0.1, 0.1, 0.1], abs=1e-6)
    assert found.flagged.tolist() == [False, False, False, True, False, False, False, False]


def test_a_network_that_has_learned_the_wrong_labels_by_heart_finds_none():
    sure = torch.tensor([[0.99, 0.01] if label == 0 else [0.01, 0.99] for label in GIVEN.tolist()])
    assert not confident_learning(Told(sure), numbered(GIVEN)).flagged.any()


@pytest.mark.parametrize(("labels", "rows", "words"), [
    (torch.zeros(4, dtype=torch.int64), ROWS[:4], "labels: must be of two classes or more"),
    (GIVEN + 1, ROWS, r"probabilities: \(8, 2\) do not fit 8 labels"),
    (GIVEN - 1, ROWS, "labels: must be from 0 to 1"),
    (GIVEN, ROWS * torch.nan, "probabilities: must be finite and not below 0"),
    (GIVEN, -ROWS, "probabilities: must be finite and not below 0"),
    (GIVEN, ROWS * 2, "probabilities: must add up to 1 in every row"),
])  # fmt: skip
def test_what_cannot_be_judged_is_one_line(labels, rows, words):
    with pytest.raises(ParameterError, match=rf"\A{words}\Z"):
        label_issues(labels, rows)


def test_without_cleanlab_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    words = r"\Aconfident learning needs cleanlab: pip install 'bdlib\[run\]' [^\n]*\Z"
    with pytest.raises(ParameterError, match=words):
        confident_learning(Told(ROWS), numbered(GIVEN))
