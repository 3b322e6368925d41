from copy import deepcopy

import torch

from bdlib.evaluation.course import Course
from bdlib.evaluation.metrics import evaluate
from bdlib.training.loop import Epoch


def test_a_course_is_what_the_watched_models_score(backdoored, test_set, trigger):
    course = Course(lambda model: evaluate(model, test_set, trigger, target_label=0), "step", every=2)
    for _ in range(5):
        course("step", backdoored)
        course("other", None)
    scores = evaluate(backdoored, test_set, trigger, target_label=0)
    assert course.lines("step")["ASR"] == ([2, 4], [100 * scores.asr] * 2)
    assert course.lines("step", before=scores)["ACC"] == ([0, 2, 4], [100 * scores.clean_accuracy] * 3)
    assert course.counts == {"step": 5, "other": 5} and course["step"] is backdoored
    assert course.seconds > 0


def test_copies_of_models_stay_as_they_were(backdoored):
    course, model = Course(deepcopy, "epoch"), deepcopy(backdoored)
    course("epoch", Epoch(0, 0.5, model))
    model.get_parameter("head.bias").data.zero_()
    kept = course.looks["epoch"][1].get_parameter("head.bias")
    assert torch.equal(kept, backdoored.get_parameter("head.bias"))
