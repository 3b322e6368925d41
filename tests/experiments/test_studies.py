"""The shared control beside the runs of a chapter."""

import pytest

from bdlib.experiments import notebooks, studies
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
