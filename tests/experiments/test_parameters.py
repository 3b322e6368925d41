import pytest

from bdlib.experiments import notebooks
from bdlib.experiments.notebooks import NOTEBOOKS
from bdlib.experiments.parameters import RULES, ParameterError, assigned_names, check, validated

NAD = NOTEBOOKS / "nad.ipynb"
WRONG = {
    "attack": "badnet", "clean_fraction": 0, "poison_rate": 0.7, "seed": -1, "beta": [1.0], "layers": ["layer9"] * 3,
    "variant": "fixed", "learning_rate": 0.0, "teacher_epochs": 0, "target_label": 10, "batch_size": 1.5,
    "data_fraction": True, "model": "resnet", "dataset": "mnist", "power": "2", "profile": "fast", "record": None,
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_value_out_of_range_is_one_line_with_name_value_and_what_is_allowed(name):
    with pytest.raises(ParameterError, match=name) as caught:
        notebooks.overridden(NAD, {name: WRONG[name]})
    message = str(caught.value)
    assert "\n" not in message and "must" in message
    assert str(WRONG[name]) in message or WRONG[name][0] in message


def test_a_misspelt_parameter_is_named():
    with pytest.raises(ParameterError, match="clean_fractoin: no such parameter.*clean_fraction"):
        notebooks.overridden(NAD, {"clean_fractoin": 0.1})


def test_what_papermill_injected_must_be_declared():
    namespace = {"seed": 1, "sede": 2, "In": ["", "seed = 0", "# Parameters\nsede = 2\n"]}
    with pytest.raises(ParameterError, match="sede: no such parameter; this notebook has seed"):
        check(namespace, "seed")
    namespace["In"] = ["", "seed = 0", "# Parameters\nseed = 1\n", "i = 3"]
    assert check(namespace, "seed") == {"seed": 1}


def test_parameters_must_fit_each_other():
    with pytest.raises(ParameterError, match="vgg19_bn.*must have images of 32 pixels"):
        notebooks.overridden(NAD, {"model": "vgg19_bn"})
    with pytest.raises(ParameterError, match="power=0.5: must be"):  # its gradient is infinite where a map is zero
        notebooks.overridden(NAD, {"power": 0.5})
    with pytest.raises(ParameterError, match="beta=.*must have 2 numbers"):
        notebooks.overridden(NAD, {"layers": ["layer1", "layer2"]})


def test_a_parameter_that_was_deleted_is_missing():
    with pytest.raises(ParameterError, match="seed: missing"):
        check({"In": []}, "seed")


def test_every_rule_tests_what_it_says():
    assert validated({"seed": 3, "clean_fraction": 0.5}) == {"seed": 3, "clean_fraction": 0.5}
    with pytest.raises(ParameterError, match="unheard: no such parameter"):
        validated({"unheard": 1})
    assert all(words and not fits(object()) for words, fits in RULES.values())


def test_assigned_names():
    assert assigned_names("# Parameters\na = 1\nb: int = 2\nc.d = 3\nprint(a)") == ["a", "b"]
