"""What a run hands to a defense and to a measure: what they ask for, and nothing that they may not have."""

import pytest
import torch
from jaxtyping import TypeCheckError

from bdlib.checks import ParameterError
from bdlib.defenses import DEFENSES
from bdlib.evaluation.metrics import Scores
from bdlib.experiments import notebooks, victims
from bdlib.experiments import run as experiments
from bdlib.experiments.checkpoints import save_checkpoint
from bdlib.experiments.run import positional, recorded, reserved
from bdlib.experiments.victims import VictimConfig, load_data, poisoned_set, victim_path
from bdlib.types import EventLog

PARAMETERS = notebooks.parameters("nad", "smoke")
CONFIG = VictimConfig.from_parameters(PARAMETERS)


def trains(make_model, poisoned): ...


def keeps_back(make_model, poisoned, clean): ...


def measures(defended, truth, clean, events): ...


def test_a_defense_that_trains_gets_the_whole_poisoned_set():
    make_model, poisoned = positional(trains, CONFIG, PARAMETERS)
    assert torch.equal(poisoned.images, poisoned_set(CONFIG).data.images)
    one, two = make_model().state_dict(), make_model().state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_one_that_keeps_clean_images_back_gets_disjoint_sets():
    _, poisoned, clean = positional(keeps_back, CONFIG, PARAMETERS)
    train, _ = load_data(CONFIG)
    assert len(poisoned) + len(clean) == len(train)
    known = {image.numpy().tobytes() for image in clean.images}
    assert not known & {image.numpy().tobytes() for image in poisoned.images}
    repaired_with, rest = reserved(CONFIG, PARAMETERS)
    assert torch.equal(clean.images, repaired_with.images)  # the same images that repairs get
    share = (poisoned.labels != rest.labels).sum() / len(rest)
    assert abs(share - PARAMETERS["poison_rate"]) < 0.01


def test_a_measure_gets_the_flags_and_what_was_watched():
    events = EventLog()
    events("losses", [1.0])
    events("losses", [1.0, 2.0])
    made = {"defended": None, "clean": reserved(CONFIG, PARAMETERS)[0], "events": events}
    _, truth, clean, seen = positional(measures, CONFIG, PARAMETERS, **made)
    assert truth.is_poisoned.sum() == round(PARAMETERS["poison_rate"] * len(truth.data))
    assert len(truth.data) + len(clean) == len(load_data(CONFIG)[0])
    assert seen == {"losses": [1.0, 2.0]}


def test_no_clean_share_means_no_clean_images():
    clean, rest = reserved(CONFIG, {k: v for k, v in PARAMETERS.items() if k != "clean_fraction"})
    assert len(clean) == 0 and len(rest) == len(load_data(CONFIG)[0])


def test_without_a_defense_the_victim_is_what_is_scored():
    victim = CONFIG.untrained()
    assert experiments.defend("nad", PARAMETERS | {"defense": "none"}, victim) is victim


@pytest.mark.parametrize("paper", [paper for paper in notebooks.papers() if paper in DEFENSES])
def test_every_defense_runs_as_records_are_made(paper):
    parameters = notebooks.parameters(paper, "smoke")
    events, model = EventLog(), VictimConfig.from_parameters(parameters).untrained()
    defended = experiments.defend(paper, parameters, model, events)
    assert not defended.training and defended is not model
    assert events["passes"].forward >= events["passes"].backward > 0
    assert ("losses" in events) == (paper == "abl") and ("snapshots" in events) == (paper == "pdb")


@pytest.mark.parametrize("paper", ["nope", None, "../nad"])
def test_a_page_that_there_is_not_is_named(paper):
    with pytest.raises((ParameterError, TypeCheckError), match="paper"):
        experiments.run(paper, PARAMETERS)


@pytest.mark.parametrize(("facts", "threads"), [({"threads": "2"}, "2"), ({}, None)])
def test_a_record_says_how_many_threads_its_victim_was_trained_by(facts, threads, tmp_path, monkeypatch):
    monkeypatch.setattr(victims, "CACHE", tmp_path)
    save_checkpoint(victim_path(CONFIG), {"weight": torch.zeros(1)}, facts)
    scores = Scores(0.9, 1.0, 0.0, 0.9)
    runtime = recorded("nad", PARAMETERS, scores, scores, 1.0).runtime
    assert (runtime["threads"], runtime["victim_threads"]) == ("1", threads)
