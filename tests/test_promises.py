"""What every defence promises, whatever it does inside."""

import inspect
from collections.abc import Sequence
from copy import deepcopy

import pytest
import torch

from bdlib.checks import ParameterError, keywords
from bdlib.data.images import ImageSet
from bdlib.defenses import DEFENSES
from bdlib.defenses.vdc.answerers.protocol import Answerer
from bdlib.evaluation.metrics import evaluate
from bdlib.types import MakeModel

FAST = {
    "fine_tune": dict(epochs=2, learning_rate=0.05, batch_size=32, augmentation=None),
    "fine_prune": dict(epochs=2, learning_rate=0.05, batch_size=32, augmentation=None),
    "anp": dict(mask_epochs=2, mask_threshold=0.6, batch_size=50, augmentation=None),
    "ft_sam": dict(rho=0.5, epochs=2, learning_rate=0.05, batch_size=32, augmentation=None),
    "nad": dict(
        teacher_epochs=1, student_epochs=2, learning_rate=0.05, beta=(10.0,) * 3, batch_size=32, augmentation=None
    ),
    "sau": dict(epochs=2, learning_rate=1e-3, inner_steps=2, batch_size=32),
    "rnp": dict(stop_accuracy=0.3, unlearning_rate=0.003, recovery_epochs=3, batch_size=64, augmentation=None),
    "nwc": dict(epochs=3, learning_rate=0.02, unlearning_rate=1e-3, stop_accuracy=0.3, neuron_ratio=0.2, batch_size=32,
                augmentation=None),
    "pdb": dict(
        defensive_trigger="frame",
        defensive_trigger_size=1,
        epochs=3,
        learning_rate=0.05,
        anneal="one_cycle",
        batch_size=64,
        augmentation=None,
    ),
    "npd": dict(radius=1.5, warm_up_epochs=2, epochs=2, batch_size=32),
    "abl": dict(gamma=0.2, isolation_epochs=1, epochs=2, milestone=1, learning_rate=0.05, batch_size=64,
                unlearning_epochs=1, augmentation=None),
    "vdc": dict(epochs=4, learning_rate=0.05, batch_size=64, augmentation=None),
    "staged": dict(epochs=3, learning_rate=0.05, batch_size=64, gamma=0.2, isolation_epochs=1, abl_epochs=2,
                   abl_milestone=1, abl_rate=0.05, unlearning_epochs=1, rho=0.5, repair_epochs=2, repair_rate=0.05,
                   repair_batch_size=32, augmentation=None),
    "clp": dict(threshold_deviations=1.0),
    "i_bau": dict(unlearning_rounds=2, ball_radius=4.0, perturbed_share=0.1, batch_size=50),
    "neural_cleanse": dict(inversion_epochs=6, anomaly_threshold=0.5, epochs=2, learning_rate=0.05, batch_size=50,
                           augmentation=None),
    "spectral_signatures": dict(training_epochs=3, training_rate=0.05, training_batch_size=64, augmentation=None),
    "activation_clustering": dict(rule="silhouette", training_epochs=3, training_rate=0.05, training_batch_size=64,
                                  augmentation=None),
    "ar": dict(alpha=1e-3, layers=("layer2", "head"), epochs=2, learning_rate=0.02, batch_size=32, augmentation=None),
}  # fmt: skip
CLASSES = ("first", "second", "third", "fourth")  # of the toy task
FORBIDDEN = ("trigger", "target", "poison", "test", "flag", "attack", "asr")


def test_every_defence_has_a_fast_setting():
    assert FAST.keys() == DEFENSES.keys()


DATA_FREE = {"clp"}  # these are given a network and no image, and draw nothing: they have no seed


def asked(key):
    """The names of what a defence takes: a repair `model` and `clean`, others `make_model` and `poisoned` as well."""
    return [p.name for p in inspect.signature(DEFENSES[key]).parameters.values() if p.kind != p.KEYWORD_ONLY]


@pytest.fixture
def given(backdoored, clean, make_model, poisoned, answerer):
    there = {"model": backdoored, "clean": clean, "make_model": make_model, "poisoned": poisoned.data}
    there |= {"class_names": CLASSES, "answerer": answerer}
    return lambda key: [there[name] for name in asked(key)]


@pytest.mark.parametrize("key", DEFENSES)
def test_it_leaves_its_input_alone_and_repeats_itself(key, given, backdoored, clean, poisoned):
    before, sets = deepcopy(backdoored.state_dict()), [clean, poisoned.data]
    copies = [(data.images.clone(), data.labels.clone()) for data in sets]
    torch.manual_seed(1)
    once = DEFENSES[key](*given(key), **FAST[key])
    torch.manual_seed(2)  # nothing may depend on the global generator
    twice = DEFENSES[key](*given(key), **FAST[key])
    other = DEFENSES[key](*given(key), **FAST[key], **({} if key in DATA_FREE else {"seed": 5}))
    assert all(torch.equal(value, before[name]) for name, value in backdoored.state_dict().items())
    assert not backdoored.training
    for data, (images, labels) in zip(sets, copies, strict=True):
        assert torch.equal(data.images, images) and torch.equal(data.labels, labels)
    assert all(torch.equal(a, b) for a, b in zip(once.parameters(), twice.parameters(), strict=True))
    same = all(torch.equal(a, b) for a, b in zip(once.parameters(), other.parameters(), strict=True))
    assert same == (key in DATA_FREE)
    assert all(torch.isfinite(p).all() for p in once.parameters()) and not once.training


@pytest.mark.parametrize("key", DEFENSES)
def test_it_keeps_accuracy_on_the_toy_task(key, given, test_set, trigger):
    scores = evaluate(DEFENSES[key](*given(key), **FAST[key]), test_set, trigger, target_label=0)
    assert scores.clean_accuracy > 0.9


@pytest.mark.parametrize("key", DEFENSES)
def test_its_signature_admits_nothing_of_the_attack(key):
    parameters = inspect.signature(DEFENSES[key]).parameters
    forms = [["model"], ["model", "clean"], ["make_model", "poisoned"], ["make_model", "poisoned", "clean"],
             ["make_model", "poisoned", "class_names", "answerer"]]  # fmt: skip
    assert asked(key) in [*forms, ["model", "make_model", "poisoned", "clean"]]
    types = {"model": torch.nn.Module, "clean": ImageSet, "make_model": MakeModel, "poisoned": ImageSet,
             "class_names": Sequence[str], "answerer": Answerer}  # fmt: skip
    assert all(parameters[name].annotation == types[name] for name in asked(key))
    known = [name for name in parameters if name not in asked(key) and not name.startswith("defensive_")]
    assert not [name for name in known if any(word in name for word in FORBIDDEN)]
    assert (asked(key) == ["model"]) == (key in DATA_FREE) == ("seed" not in parameters)
    assert all(p.kind != p.VAR_KEYWORD for p in parameters.values())


@pytest.mark.parametrize(("key", "name"), [(key, name) for key in DEFENSES for name in keywords(DEFENSES[key])])
def test_every_keyword_refuses_bad_values_in_one_line_that_names_it(key, name):
    """Before any compute: the model and the images are not even looked at."""
    for value in (float("nan"), -1, 10**10, object()):
        with pytest.raises(ParameterError, match=rf"\A{name}=[^\n]*: must be [^\n]*\Z"):
            DEFENSES[key](*[None for _ in asked(key)], **{name: value})


@pytest.mark.parametrize(
    ("key", "bad", "words"),
    [
        ("rnp", {"variant": "relesed"}, "variant='relesed': must be one of paper, released"),
        ("nwc", {"neuron_ratio": 2}, "neuron_ratio=2: must be a number from 0 to 1, or None"),
        ("fine_tune", {"epochs": -1}, "epochs=-1: must be a whole number from 0 to 1000"),
        ("abl", {"isolation": "los"}, "isolation='los': must be one of loss, random"),
        ("abl", {"isolation_rate": 0}, "isolation_rate=0: must be a number above 0, at most 0.5"),
        ("anp", {"mask_threshold": 1.5}, "mask_threshold=1.5: must be a number from 0 to 1, or None"),
        ("nad", {"variant": "relesed"}, "variant='relesed': must be one of paper, released"),
        ("ar", {"select": "middle"}, "select='middle': must be one of bottom, top, bottom_abs"),
        ("ar", {"regularizer": "l3"}, "regularizer='l3': must be one of adaptive, l1, l2, l2_matched"),
        ("pdb", {"anneal": "cos"}, "anneal='cos': must be one of constant, cosine, one_cycle"),
        ("pdb", {"defensive_trigger": "circle"}, "defensive_trigger='circle': must be one of none, frame, corner"),
        ("npd", {"loss_weights": [1.0]}, "loss_weights=[1.0]: must be a list of 4, each item a number from 0 to 100"),
        ("fine_prune", {"readout": 3}, "readout=3: must be text, or None"),
    ],
)
def test_what_is_allowed_is_said(key, bad, words):
    with pytest.raises(ParameterError) as raised:
        DEFENSES[key](*[None for _ in asked(key)], **bad)
    assert str(raised.value) == words


@pytest.mark.parametrize("key", [key for key in DEFENSES if asked(key) == ["model", "clean"]])
def test_no_clean_images_is_one_line(key, backdoored, clean):
    with pytest.raises(ValueError, match=r"\Aclean: the set of images is empty\Z"):
        DEFENSES[key](backdoored, clean[clean.labels < 0], **FAST[key])


@pytest.mark.parametrize("key", [key for key in DEFENSES if "on_event" in inspect.signature(DEFENSES[key]).parameters])
def test_an_error_in_on_event_reaches_the_caller(key, given):
    def fail(name, value):
        raise StopIteration(name)

    with pytest.raises(StopIteration):
        DEFENSES[key](*given(key), **FAST[key], on_event=fail)
