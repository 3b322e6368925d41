import inspect

import pytest

from bdlib.checks import ParameterError
from bdlib.defenses import DEFENSES
from bdlib.experiments import notebooks, pages
from bdlib.experiments import run as experiments
from bdlib.experiments.parameters import check, defenses_of, overridden, validated
from bdlib.mechanisms import MECHANISMS

WRONG = {
    "attack": "badnet", "clean_fraction": 0, "poison_rate": 0.7, "seed": -1, "beta": [1.0], "layers": ["layer9"] * 3,
    "variant": "fixed", "learning_rate": 0.0, "teacher_epochs": 0, "target_label": 10, "batch_size": 1.5,
    "data_fraction": True, "model": "resnet", "dataset": "mnist", "power": "2", "profile": "fast", "record": None,
}  # fmt: skip


def renamed(function, old, new):
    """`function` with its keyword `old` called `new`, on its signature and in its annotations."""
    source = function.__wrapped__ if hasattr(function, "__wrapped__") else function

    def call(*args, **kwargs):
        raise AssertionError("must not be reached")

    signature = inspect.signature(source)
    parameters = [p.replace(name=new) if p.name == old else p for p in signature.parameters.values()]
    call.__signature__ = signature.replace(parameters=parameters)
    call.__annotations__ = {new if name == old else name: hint for name, hint in source.__annotations__.items()}
    call.__name__ = function.__name__
    return call


@pytest.mark.parametrize("name", WRONG)
def test_a_value_out_of_range_is_one_line_with_name_value_and_what_is_allowed(name):
    with pytest.raises(ParameterError, match=name) as caught:
        overridden("nad", {name: WRONG[name]})
    message = str(caught.value)
    assert "\n" not in message and "must" in message
    assert str(WRONG[name]) in message or WRONG[name][0] in message


def test_a_misspelt_parameter_is_named():
    with pytest.raises(ParameterError, match="clean_fractoin: no such parameter.*clean_fraction"):
        overridden("nad", {"clean_fractoin": 0.1})


def test_a_notebook_gets_the_parameters_of_its_cell_out_of_its_namespace():
    namespace = pages.defaults(pages.notebook("nad")) | {"In": ["", "beta = 3", "i = 3"], "i": 3, "seed": 7}
    assert check("nad", namespace) == pages.defaults(pages.notebook("nad")) | {"seed": 7}


def test_what_papermill_injected_must_be_in_the_parameters_cell():
    namespace = pages.defaults(pages.notebook("nad")) | {"sede": 2, "In": ["", "seed = 0", "# Parameters\nsede = 2\n"]}
    with pytest.raises(ParameterError, match="sede: no such parameter; this notebook has attack, clean_fraction"):
        check("nad", namespace)
    assert check("nad", namespace | {"In": ["", "seed = 0", "# Parameters\nseed = 1\n", "i = 3"]})["seed"] == 0


def test_a_parameter_that_was_deleted_is_missing():
    namespace = pages.defaults(pages.notebook("nad"))
    del namespace["seed"]
    with pytest.raises(ParameterError, match="seed: missing"):
        check("nad", namespace)


def test_parameters_must_fit_each_other():
    with pytest.raises(ParameterError, match="vgg19_bn.*must have images of 32 pixels"):
        overridden("nad", {"model": "vgg19_bn"})
    with pytest.raises(ParameterError, match="power=0.5: must be"):  # its gradient is infinite where a map is zero
        overridden("nad", {"power": 0.5})
    with pytest.raises(ParameterError, match="beta=.*must have 2 numbers"):
        overridden("nad", {"layers": ["layer1", "layer2"]})


@pytest.mark.parametrize("keyword", ["alpha", "batch_size"])  # the control takes a batch_size too
def test_a_renamed_keyword_stops_a_run_before_any_compute(monkeypatch, keyword):
    parameters = notebooks.parameters("rnp", "quick")
    monkeypatch.setitem(DEFENSES, "rnp", renamed(DEFENSES["rnp"], keyword, "other_name"))
    monkeypatch.setattr(experiments, "load_victim", None)
    with pytest.raises(ParameterError, match=f"^({keyword}|other_name): .*rnp") as caught:
        experiments.run("rnp", parameters)
    assert "\n" not in str(caught.value)


def test_a_renamed_keyword_of_a_mechanism_stops_a_run_too(monkeypatch):
    monkeypatch.setitem(MECHANISMS, "attacks", renamed(MECHANISMS["attacks"], "label_map", "other_name"))
    with pytest.raises(ParameterError, match="other_name: attacks takes it"):
        experiments.run("attacks", notebooks.parameters("attacks", "quick"))


def test_a_parameter_that_nothing_takes_is_named():
    with pytest.raises(ParameterError, match=r"rho: nothing that the page nad runs takes it; it runs nad$"):
        validated("nad", notebooks.parameters("nad", "quick") | {"rho": 2.0})


def test_a_page_runs_its_own_defense_and_the_controls_of_its_studies():
    assert defenses_of("rnp") == ["rnp", "fine_tune"] and defenses_of("nad") == ["nad"]
    assert set(defenses_of("lps")) == {"fine_tune", "fine_prune", "nad"} and defenses_of("attacks") == []
    with pytest.raises(ParameterError, match="defense='sau': must be one of none, rnp, fine_tune"):
        overridden("rnp", {"defense": "sau"})


@pytest.mark.parametrize("paper", pages.papers())
def test_every_parameter_of_a_page_is_taken_and_every_keyword_of_its_methods_is_given(paper):
    parameters = pages.defaults(pages.notebook(paper))
    assert validated(paper, parameters) is parameters


def test_assigned_names():
    assert pages.assigned_names("# Parameters\na = 1\nb: int = 2\nc.d = 3\nprint(a)") == ["a", "b"]


@pytest.mark.parametrize(
    ("paper", "changes", "words"),
    [
        ("nad", {"layers": ["layer1", "layer2", "head"]}, "layers='head': must give out maps"),
        ("nad", {"layers": ["layer1", "layer2", "pool"]}, "layers='pool': must give out maps larger than one pixel"),
        ("ar", {"layers": ["pool"]}, "layers='pool': must hold a convolution"),
        ("abl", {"isolation_rate": 1e-9}, "isolation_rate=1e-09: isolates 0 of"),
        ("pdb", {"label_shift": 10}, "label_shift=10: must be from 0 to 9, for 10 classes"),
        ("pdb", {"defensive_trigger": "frame", "defensive_trigger_size": 14}, "defensive_trigger_size=14: nothing is"),
        ("npd", {"layer": "head"}, "layer='head': must take maps"),
    ],
)
def test_what_a_defense_cannot_do_is_said_before_the_victim_is_trained(paper, changes, words):
    with pytest.raises(ParameterError, match=rf"\A{words}[^\n]*\Z"):
        overridden(paper, changes)
