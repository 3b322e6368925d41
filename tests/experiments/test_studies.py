"""The shared control beside the runs of a chapter."""

import pytest

from bdlib.experiments import notebooks, records, studies
from bdlib.report.comparison import PAPERS


@pytest.mark.parametrize("profile", ["quick", "paper"])
@pytest.mark.parametrize("paper", PAPERS)
def test_every_headline_run_of_a_repair_has_its_shared_control(paper, profile):
    points = notebooks.study(paper, profile, "headline")
    planned = studies.planned_control(points, profile)
    asked = {(point["attack"], point["seed"]) for _, point in points}
    assert [method for method, _ in planned] == [studies.SHARED_CONTROL] * len(asked)
    assert {(point["attack"], point["seed"]) for _, point in planned} == asked


def test_only_the_same_victims_and_clean_images_count():
    point = {"attack": "sig", "poison_rate": 0.5, "seed": 1, "clean_fraction": 0.05, "epochs": 3}
    others = [point | change for change in ({"epochs": 9}, {"seed": 2}, {"clean_fraction": 0.1}, {"poison_rate": 0.1})]
    assert studies.on_same_victims(others, [point]) == [True, False, False, False]
    assert studies.on_same_victims([point], []) == [False]


def test_a_study_is_read_once_in_a_block_and_again_after_it(monkeypatch):
    read, present = [], records.read_present
    monkeypatch.setattr(records, "read_present", lambda paths: read.append(1) or present(paths))
    outside = studies.load_study("nad", "quick", "headline")
    with studies.reading_once(), studies.reading_once():
        first = studies.load_study("nad", "quick", "headline")
        first["asr_after"] = 0.0  # one that is changed is not what the next gets
        assert studies.load_study("nad", "quick", "headline").equals(outside) and len(read) == 2
    assert studies.load_study("nad", "quick", "headline").equals(outside) and len(read) == 3
