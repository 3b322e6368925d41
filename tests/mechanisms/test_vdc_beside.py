"""Other detectors beside VDC: they see what it sees and no truth, and are scored on the images it is asked about."""

import functools
import inspect

import pytest
import torch
from torch import nn
from toy_task import toy

from bdlib.attacks.poisoning import Poisoned
from bdlib.checks import ParameterError
from bdlib.data.images import ImageSet
from bdlib.data.passes import count_passes
from bdlib.defenses.detectors import DETECTORS
from bdlib.experiments import notebooks, records
from bdlib.experiments.parameters import overridden
from bdlib.experiments.versions import is_measured, versions
from bdlib.mechanisms.vdc_beside import TRUSTED, beside, trusted
from bdlib.mechanisms.vdc_noise import noisy_sets, sample
from bdlib.training.loop import Schedule

NAMES = ("first", "second", "third", "fourth")
SCHEDULE = Schedule(1, 0.05, batch_size=64, augmentation=None)
ASKED = 200


@pytest.fixture
def measure(backdoored, make_model, poisoned):
    """Measures a detector on the toy task."""

    def call(detector, truth=poisoned, noise_rate=0.0):
        return beside(detector, backdoored, make_model, toy(1000, seed=0), truth, NAMES, SCHEDULE,
                      noise_rate=noise_rate, looked_at=ASKED, seed=0)  # fmt: skip

    return call


@pytest.fixture
def given(monkeypatch):
    """What each detector is called with, in the order of the calls."""
    calls = []

    def watched(function):
        @functools.wraps(function)
        def call(*args, **keywords):
            calls.append((args, keywords))
            return function(*args, **keywords)

        return call

    for key, function in [*DETECTORS.items()]:
        monkeypatch.setitem(DETECTORS, key, watched(function))
    return calls


@pytest.mark.parametrize("key", DETECTORS)
def test_a_detector_is_given_a_network_and_images_and_nothing_of_the_truth(key, measure, given, poisoned):
    keywords = {name for name, p in inspect.signature(DETECTORS[key]).parameters.items() if p.kind == p.KEYWORD_ONLY}
    measured = measure(key)
    ((model, *sets), settings), *rest = given
    assert not rest and isinstance(model, nn.Module) and settings.keys() <= keywords
    if key == "strip":
        clean, queries = sets
        assert isinstance(clean, ImageSet) and queries.dtype == torch.uint8 and len(queries) == ASKED
    else:
        (data,) = sets
        assert torch.equal(data.images, poisoned.data.images) and torch.equal(data.labels, poisoned.data.labels)
    assert measured["asked"] == ASKED and 0 <= measured["fpr"] <= 1 and 0 <= measured["auroc"] <= 1
    assert measured["found_at_1"] <= measured["found_at_5"] <= measured["found_at_10"]
    assert measured["missed"] == pytest.approx((1 - measured["tpr"]) * round(0.09 * ASKED))


def test_what_a_detector_says_does_not_depend_on_the_flags(measure, given, poisoned):
    """Other flags with as many images of each kind ask about other images, but the detector is shown the same."""
    moved = Poisoned(poisoned.data, poisoned.is_poisoned.roll(1))
    measure("activation_clustering")
    measure("activation_clustering", truth=moved)
    (one, settings), (other, same) = given
    assert torch.equal(one[1].labels, other[1].labels) and settings == same


def test_the_clean_images_of_strip_are_neither_poisoned_nor_asked_about(poisoned):
    ids = sample(poisoned.is_poisoned, ASKED, seed=0)
    places = ImageSet(poisoned.data.images, torch.arange(1000))  # the labels tell which images were taken
    taken = trusted(places, poisoned, ids, seed=0).labels
    assert len(taken) == round(TRUSTED * 1000) == len(taken.unique())
    assert not poisoned.is_poisoned[taken].any() and not set(taken.tolist()) & set(ids.tolist())
    from_asked = trusted(places, poisoned, torch.arange(1000), seed=0).labels
    assert len(from_asked) == len(taken) and not poisoned.is_poisoned[from_asked].any()


def test_filters_are_shown_the_wrong_labels_that_vdc_is_shown_and_share_the_trained_networks(measure, given, poisoned):
    with count_passes() as first:
        measured = measure("spectral_signatures", noise_rate=0.4)
    with count_passes() as second:
        measure("confident_learning", noise_rate=0.4)
    assert {"symmetric_tpr", "symmetric_fpr", "asymmetric_fpr", "hybrid_tpr", "hybrid_fpr"} <= {*measured}
    assert "asymmetric_tpr" not in measured  # none of the toy task's classes is similar to another
    assert first.backward == 3 * 1000 and second.backward == 0
    ids = sample(poisoned.is_poisoned, ASKED, seed=0)
    asked = Poisoned(poisoned.data[ids], poisoned.is_poisoned[ids])
    shown = noisy_sets(toy(1000, seed=0)[ids], asked, NAMES, 0.4, 0)
    for (args, _), (data, _) in zip(given[1:4], shown.values(), strict=True):
        assert torch.equal(args[1].labels[ids], data.labels) and torch.equal(args[1].images[ids], data.images)


def test_strip_has_nothing_to_find_in_wrong_labels(measure):
    assert not [name for name in measure("strip", noise_rate=0.4) if "symmetric" in name or "hybrid" in name]


def test_without_poison_only_false_alarms_are_counted(measure, poisoned):
    nothing = Poisoned(toy(1000, seed=0), torch.zeros(1000, dtype=torch.bool))
    measured = measure("spectral_signatures", truth=nothing)
    assert "tpr" not in measured and "auroc" not in measured and measured["fpr"] > 0


# Its runs


def test_a_detector_is_measured_where_nothing_is_retrained_and_elsewhere_refused_in_one_line():
    with pytest.raises(ParameterError, match=r"\Adetector='strip': must be vdc where defense='vdc'; [^\n]*\Z"):
        overridden("vdc", {"detector": "strip"})
    with pytest.raises(ParameterError, match=r"\Adetector='abl': must be one of [^\n]*\Z"):
        overridden("vdc", {"detector": "abl", "defense": "none"})
    parameters = overridden("vdc", {"detector": "strip", "defense": "none"})
    assert is_measured("vdc", parameters) and versions("vdc", parameters)["detector"] == 1
    assert "detector" not in versions("vdc", overridden("vdc", {}))


def test_the_keyword_that_vdc_got_later_renames_none_of_its_records():
    now = notebooks.parameters("vdc", "quick")
    before = {name: value for name, value in now.items() if name != "detector"}
    assert now["detector"] == "vdc"
    assert records.path("vdc", "quick", now) == records.path("vdc", "quick", before)


@pytest.mark.parametrize("scale", ["quick", "cifar", "paper"])
def test_the_studies_have_vdc_and_every_detector_on_the_same_attacks(scale):
    methods = {}
    for method, point in notebooks.study("vdc", scale, "detectors"):
        methods.setdefault(method, set()).add((point["attack"], point["seed"]))
        assert point["defense"] == "none" and (point["detector"] == "vdc") == (method == "VDC")
    assert len(methods) == 1 + len(DETECTORS) and len({frozenset(each) for each in methods.values()}) == 1
    assert len(notebooks.study("vdc", scale, "label_noise")) % len(DETECTORS) == 0  # VDC and all but STRIP
