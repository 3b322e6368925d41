"""A victim's configuration: each field in its range, and the fields fitting each other, in one line."""

import pytest

from bdlib.attacks import ATTACKS
from bdlib.checks import ParameterError
from bdlib.evaluation.apply_trigger import AllToAll, AllToOne
from bdlib.experiments import records
from bdlib.experiments.config import VictimConfig
from bdlib.experiments.parameters import added_later, overridden

CLEAN_LABEL = [name for name, attack in ATTACKS.items() if attack.clean_label]
CONTROLLED = [name for name, attack in ATTACKS.items() if attack.training_controlled]


def refused(words, **settings):
    with pytest.raises(ParameterError, match=f"^{words}$") as refusal:
        VictimConfig(**settings)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name, value, allowed", [
    ("attack", "badnet", "one of none, badnets, blended, .*"),
    ("label_map", "all_to_al", "one of all_to_one, all_to_all"),
    ("dataset", "mnist", "one of fashion, cifar10, .*"),
    ("model", "resnet", "one of small_resnet, .*"),
    ("selection", "best", "one of random, fus, lps, .*"),
    ("data_fraction", 0.0, "a number from 0.01 to 1"),
    ("target_label", -1, "a whole number from 0 to 9999"),
    ("poison_rate", 0.0, "a number above 0, at most 0.5"),
    ("poison_rate", 0.6, "a number above 0, at most 0.5"),
    ("victim_epochs", 0, "a whole number from 1 to 1000"),
    ("victim_batch_size", 1, "a whole number from 2 to 4096"),
    ("seed", -1, "a whole number from 0 to 2147483647"),
    ("rounds", -1, "a whole number from 0 to 1000"),
    ("round_epochs", 0, "a whole number from 1 to 1000"),
    ("iterations", 1001, "a whole number from 0 to 1000"),
    ("iteration_epochs", 0, "a whole number from 1 to 1000"),
    ("trigger_strength", 0.0, "a number above 0, at most 10"),
    ("keep_ratio", 1.1, "a number from 0 to 1"),
])  # fmt: skip
def test_a_field_out_of_its_range_is_named_with_its_value_and_what_is_allowed(name, value, allowed):
    refused(f"{name}={value!r}: must be {allowed}", **{name: value})


def test_a_trigger_takes_another_strength_where_it_has_one():
    assert VictimConfig(attack="blended", trigger_strength=2.0).attack_object.trigger.alpha == 0.4
    assert VictimConfig(attack="badnets", trigger_strength=0.5).attack_object.trigger.value == 0.5
    assert VictimConfig(attack="sig", trigger_strength=1.0).attack_object is ATTACKS["sig"]
    for attack in ("none", "wanet", "label_consistent"):
        refused("trigger_strength=2.0: must be 1 for an attack whose trigger has no strength", attack=attack,
                trigger_strength=2.0)  # fmt: skip
    refused("trigger_strength=2.0: value=2.0: must be a number from 0 to 1", trigger_strength=2.0)


def test_a_setting_that_was_added_later_renames_no_record():
    parameters = overridden("sau", {})
    without = {name: value for name, value in parameters.items() if name != "trigger_strength"}
    named = [records.file_name("sau", some, {}) for some in (parameters, without, parameters | {"trigger_strength": 2})]
    assert added_later("sau") == {"trigger_strength": 1.0} and named[0] == named[1] != named[2]
    assert "trigger_strength" not in added_later("ft_sam")  # a page without the parameter


def test_the_target_is_a_class_of_the_data_set():
    assert VictimConfig(target_label=42, dataset="gtsrb").target_label == 42
    refused("target_label=10: must be from 0 to 9 for fashion", target_label=10)


def test_a_network_must_have_images_that_are_large_enough():
    assert VictimConfig(model="vgg19_bn", dataset="cifar10")
    refused("model='vgg19_bn': must have images of 32 pixels or more, fashion has 28", model="vgg19_bn")


@pytest.mark.parametrize("attack", CLEAN_LABEL)
def test_clean_label_attacks_move_no_labels_and_select_no_images(attack):
    refused(f"label_map='all_to_all': must be all_to_one: attack {attack} changes no labels", attack=attack,
            label_map="all_to_all")  # fmt: skip
    refused(f"selection='lps': must be random for {attack}, which changes no labels", attack=attack, selection="lps")


@pytest.mark.parametrize("attack", CONTROLLED)
def test_images_are_selected_only_by_who_poisons_once(attack):
    words = f"selection='fus': must be random for {attack}, which triggers other images in every batch"
    refused(words, attack=attack, selection="fus")


def test_a_selection_has_a_single_target():
    words = "label_map='all_to_all': must be all_to_one where selection is not random"
    refused(words, label_map="all_to_all", selection="lps")


def test_only_training_controlled_attacks_have_cover_samples_to_leave_out():
    config = VictimConfig(attack="wanet", cover_samples=False)
    assert config.attack_object.cover_ratio == 0 and VictimConfig(attack="wanet").attack_object.cover_ratio == 2
    refused("cover_samples=False: must be True for badnets, which has none to leave out", cover_samples=False)


def test_relabeling_follows_the_label_map():
    assert VictimConfig(target_label=3).relabel == AllToOne(3)
    assert VictimConfig(label_map="all_to_all", dataset="cifar100").relabel == AllToAll(100)


def test_a_notebooks_parameters_hold_a_configuration():
    parameters = {"attack": "blended", "seed": 4, "epochs": 20, "record": ""}
    assert VictimConfig.from_parameters(parameters) == VictimConfig(attack="blended", seed=4)
    with pytest.raises(ParameterError, match="attack='badnet'"):
        VictimConfig.from_parameters({"attack": "badnet"})


def test_a_selection_gets_its_own_settings_and_no_others():
    config = VictimConfig(selection="fus", victim_batch_size=32, keep_ratio=0.4)
    assert config.selection_settings == {
        "target_label": 0, "poison_rate": 0.1, "iterations": 3, "iteration_epochs": 4, "keep_ratio": 0.4,
        "batch_size": 32, "augmentation": 2, "seed": 0,
    }  # fmt: skip
    assert VictimConfig(selection="lps", attack="none").selection_settings["poison_rate"] == 0
