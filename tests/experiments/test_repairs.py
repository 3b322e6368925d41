"""Pages that look at any repair: whose settings they take, and what their records depend on."""

import pytest

from bdlib.checks import ParameterError
from bdlib.experiments import notebooks
from bdlib.experiments import run as experiments
from bdlib.experiments.parameters import REPAIRS, overridden
from bdlib.experiments.repairs import chapter_run, settings_version
from bdlib.experiments.versions import defense_of, is_measured, versions
from bdlib.experiments.victims import VictimConfig
from bdlib.mechanisms.workshop import READINGS, is_seen

PAGES = ("workshop", "reactivation")


def test_repairs_change_finished_networks_and_train_none():
    assert {"nad", "clp", "ft_sam", "anp", "npd", "none"} <= {*REPAIRS}
    assert not {"abl", "pdb", "vdc", "staged", "spectral_signatures"} & {*REPAIRS}


def test_a_repair_has_the_settings_of_its_chapter_and_the_victim_of_the_page():
    asked = notebooks.parameters("workshop", "quick") | {"repaired_by": "nad", "attack": "blended", "seed": 4}
    chapter, run = chapter_run(asked)
    own = notebooks.parameters("nad", "quick")
    assert chapter == "nad" and (run["attack"], run["seed"]) == ("blended", 4)
    assert {name: value for name, value in run.items() if value != own[name]} == {"attack": "blended", "seed": 4}
    chapter, run = chapter_run(asked | {"repaired_by": "anp"})
    assert chapter == "comparison" and run["defense"] == "anp"


@pytest.mark.parametrize("page", PAGES)
def test_the_versions_hold_the_chapters_settings(page):
    asked = notebooks.parameters(page, "quick")
    assert defense_of(page, asked) == "ft_sam" and is_measured(page, asked)
    made = versions(page, asked)
    assert {"defense", "mechanism", "repair_settings"} <= made.keys()
    assert versions(page, asked | {"seed": 3}) == made
    other = settings_version(asked | {"repair_settings": "smoke"})
    assert made["repair_settings"] == settings_version(asked) != other
    none = asked | {"repaired_by": "none"}
    assert "repair_settings" not in versions(page, none) and is_measured(page, none)


def test_what_cannot_be_repaired_stops_in_one_line():
    with pytest.raises(ParameterError, match="repaired_by='abl'"):
        overridden("workshop", {"repaired_by": "abl"})
    with pytest.raises(ParameterError, match="layer"):
        overridden("workshop", {"layer": "layer9"})
    with pytest.raises(ParameterError, match="layers="):  # NAD's of the paper's network, which this one lacks
        overridden("reactivation", {"repaired_by": "nad", "repair_settings": "cifar", "model": "small_resnet"})


def test_without_a_repair_the_network_is_the_victim(backdoored):
    asked = notebooks.parameters("reactivation", "smoke") | {"repaired_by": "none"}
    assert experiments.defend("reactivation", asked, backdoored) is backdoored


def test_the_twin_has_the_same_network_data_and_seed():
    config = VictimConfig(attack="sig", poison_rate=0.5, seed=2, data_fraction=0.5)
    assert config.twin == VictimConfig(attack="none", seed=2, data_fraction=0.5)


def test_rules_compare_with_the_twin():
    assert is_seen("island", 0.98, 0.26) and not is_seen("island", 0.4, 0.26)
    assert is_seen("curvature", 10.0, 25.0) and not is_seen("curvature", 15.0, 25.0)
    assert is_seen("lipschitz", 4.0, 2.5) and not is_seen("lipschitz", 6.0, 5.6)
    assert all(not is_seen(name, 1.0, 1.0) for name in READINGS)
