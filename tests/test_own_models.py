"""An own network, and own data: attacked, defended, scored and cached as the built-in ones are."""

from decimal import Decimal

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch import nn
from toy_task import toy

from bdlib import (
    DEFENSES,
    VictimConfig,
    evaluate_victim,
    load_data,
    register_dataset,
    register_model,
    split,
    trained_victim,
)
from bdlib.checks import ParameterError
from bdlib.data.datasets import CLASS_NAMES, DATASETS, OWN
from bdlib.data.images import ImageSet
from bdlib.experiments import needs, sources, victims
from bdlib.experiments.keys import victim_key
from bdlib.experiments.versions import victim_versions
from bdlib.experiments.victims import victim_path
from bdlib.models import MODELS


@pytest.fixture(autouse=True)
def registries(tmp_path, monkeypatch):
    """Those of the process, put back afterwards; and a cache of the test's own."""
    monkeypatch.setattr(victims, "CACHE", tmp_path)
    before = [(registry, dict(registry)) for registry in (DATASETS, CLASS_NAMES, OWN, MODELS)]
    yield
    for registry, kept in before:
        registry.clear()
        registry.update(kept)


class Net(nn.Module):
    """Two convolutions, each with BatchNorm behind it, and a linear layer."""

    def __init__(self, channels, num_classes, active=nn.ReLU):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(channels, 16, 3, 2, 1), nn.BatchNorm2d(16), active())
        self.second = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), active())
        self.head = nn.Linear(32 * 16, num_classes)
        self.default_layers = {"attention": ("first", "second"), "head": ("head",)}

    def forward(self, images):
        return self.head(self.second(self.first(images)).flatten(1))


def config(**more):
    return VictimConfig(**dict(dataset="toy", model="net", victim_epochs=6, poison_rate=0.1) | more)


def test_own_data_and_an_own_network_go_the_whole_way():
    register_dataset("toy", toy(600, 0), toy(200, 1), augmentation=None)
    register_model("net", Net)
    victim, (train, test) = trained_victim(config()), load_data(config())
    before = evaluate_victim(config(), victim, test)
    assert before.clean_accuracy > 0.9 and before.asr > 0.9
    again = trained_victim(config())
    assert all(
        torch.equal(a, b) for a, b in zip(victim.state_dict().values(), again.state_dict().values(), strict=True)
    )
    clean = split(train, 0.1, seed=0)[0]
    repaired = {"nad": dict(teacher_epochs=2, student_epochs=2, beta=(1.0, 1.0)), "anp": {}, "fine_tune": {}}
    for key, keywords in repaired.items():
        after = evaluate_victim(config(), DEFENSES[key](victim, clean, seed=0, **keywords), test)
        assert 0 <= after.asr <= 1, key


def test_victims_of_other_data_or_another_network_are_never_mistaken():
    register_dataset("toy", toy(600, 0), toy(200, 1))
    register_model("net", Net)
    keys, versions = [victim_key(config())], [victim_versions(config())]
    register_dataset("toy", toy(600, 2), toy(200, 1))
    keys.append(victim_key(config())), versions.append(victim_versions(config()))
    register_model("net", lambda channels, classes: Net(channels, classes, nn.GELU))
    keys.append(victim_key(config())), versions.append(victim_versions(config()))

    class Halved(Net):
        def forward(self, images):
            return super().forward(images / 2)

    Halved.__name__ = "Net"  # the same layers: only what it computes differs
    register_model("net", Halved)
    keys.append(victim_key(config())), versions.append(victim_versions(config()))
    assert len(set(keys)) == 4 and len({str(v) for v in versions}) == 4
    register_dataset("toy", toy(600, 0), toy(200, 1))
    register_model("net", Net)
    assert victim_key(config()) == keys[0] and victim_versions(config()) == versions[0]


def test_built_in_names_have_no_such_digests():
    assert set(victim_versions(VictimConfig())) == {
        "attack", "datasets", "images", "models", "loop", "poisoning", "victims"}  # fmt: skip
    assert "own" not in victim_path(VictimConfig()).name


SHARED = Net(3, 4)
WRONG = {
    "must make an nn.Module, not NoneType": lambda channels, classes: None,
    "a new network at every call": lambda channels, classes: SHARED,
    "and gives shape (2, 7) for two": lambda channels, classes: Net(channels, 7),
    "and gives tuple": lambda channels, classes: type("Two", (Net,), {"forward": lambda self, x: (x, x)})(channels, 4),
    "fails (RuntimeError": lambda channels, classes: Net(1, classes),
    "gives probabilities; leave out": lambda channels, classes: nn.Sequential(Net(channels, classes), nn.Softmax(1)),
    "fails (ZeroDivisionError": lambda channels, classes: 1 / 0,
    "fails (TypeError": lambda channels: Net(channels, 4),
    "and fails": lambda channels, classes: Net(channels, classes).double(),
}


@pytest.mark.parametrize("said", WRONG)
def test_a_network_that_does_not_fit_is_one_line_before_any_training(said):
    register_dataset("toy", toy(60, 0), toy(20, 1))
    register_model("net", WRONG[said])
    with pytest.raises((ParameterError, TypeCheckError)) as caught:
        for seed in range(2):
            config(seed=seed).untrained()
    if isinstance(caught.value, TypeCheckError):  # of the tests; users have none
        return
    assert "model='net'" in str(caught.value)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_names_and_factories_that_cannot_be_are_one_line():
    for name in ("small_resnet", "a b", "", 3):
        with pytest.raises((ParameterError, TypeCheckError), match=f"name={name!r}: must be|register_model"):
            register_model(name, Net)
    for factory in (Net(3, 4), None):
        with pytest.raises((ParameterError, TypeCheckError), match="factory=.*: must be a function|register_model"):
            register_model("net", factory)


def test_lazy_layers_in_a_sequence_are_cached_too():
    register_dataset("toy", toy(200, 0), toy(60, 1))
    register_model("net", lambda _, classes: nn.Sequential(nn.Flatten(), nn.LazyLinear(classes)))
    made, read = trained_victim(config(victim_epochs=1)), trained_victim(config(victim_epochs=1))
    assert all(torch.equal(a, b) for a, b in zip(made.state_dict().values(), read.state_dict().values(), strict=True))


def test_a_victim_of_another_copy_of_the_data_is_made_again(monkeypatch):
    register_dataset("toy", toy(60, 0), toy(60, 1))
    register_model("net", Net)
    made, calls, copies = config(victim_epochs=1), [], ["0a"]
    for module in (victims, sources):
        monkeypatch.setattr(module, "source_of", lambda name: copies[-1])
    trained_victim(made)
    monkeypatch.setattr(victims, "load_data", lambda c, known=victims.load_data: calls.append(c) or known(c))
    trained_victim(made)
    assert not calls
    copies.append("0b")
    with pytest.warns(UserWarning, match="another copy of toy"):
        trained_victim(made)
    assert calls


def test_images_of_a_size_that_an_attack_cannot_take_are_refused_before_training():
    odd = toy(60, 0)
    odd = ImageSet(odd.images[:, :, :15, :15], odd.labels)
    register_dataset("toy", odd, odd)
    with pytest.raises(ParameterError, match="attack='input_aware': must have images of a multiple of 4 pixels, not"):
        VictimConfig(dataset="toy", attack="input_aware")


class Dropping(nn.Module):
    """Networks that differ in training mode alone."""

    def __init__(self, channels, classes, share):
        super().__init__()
        self.head, self.trigger, self.share = nn.LazyLinear(classes), nn.LazyLinear(classes), share

    def forward(self, images):
        pixels = nn.functional.dropout(images.flatten(1), self.share, self.training)
        return self.head(pixels) + self.trigger(pixels)


def test_networks_that_differ_in_training_alone_or_by_what_their_factory_reads_are_told_apart():
    paths = []
    for share in (0.0, 0.5):
        register_model("dropping", lambda channels, classes: Dropping(channels, classes, share))
        paths.append(victim_path(VictimConfig(model="dropping")))
    assert paths[0] != paths[1]


def test_a_layer_of_any_name_is_cached_and_found(recwarn):
    register_dataset("toy", toy(40, seed=0), toy(40, seed=1))
    register_model("dropping", lambda channels, classes: Dropping(channels, classes, 0.0))
    config = VictimConfig(dataset="toy", model="dropping", victim_epochs=1, victim_batch_size=20)
    first, written = trained_victim(config), victim_path(config).stat().st_mtime_ns
    again = trained_victim(config)
    assert victim_path(config).stat().st_mtime_ns == written and not recwarn.list
    assert torch.equal(first.get_parameter("trigger.weight"), again.get_parameter("trigger.weight"))


def test_a_factory_that_shares_layers_between_networks_is_refused():
    shared = nn.Linear(784, 10)
    register_model("shared", lambda channels, classes: nn.Sequential(nn.Flatten(), shared))
    with pytest.raises(ParameterError, match="must make new layers at every call"):
        VictimConfig(model="shared")


def test_who_changes_loaded_images_does_not_change_the_data_set():
    register_dataset("toy", toy(40, seed=0), toy(40, seed=1))
    for name in ("toy", "fashion"):
        config = VictimConfig(dataset=name)
        load_data(config)[0].images.zero_()
        assert load_data(config)[0].images.any()


@pytest.mark.parametrize("value", [np.float32(0.1), np.float64(0.1), torch.tensor(0.1), Decimal("0.1")])
def test_numbers_that_are_not_pythons_own_are_refused(value):
    with pytest.raises((ParameterError, TypeCheckError), match="poison_rate"):  # whichever looks first
        VictimConfig(poison_rate=value)


class Remembering(nn.Module):
    """A network with a state that training changes: in a buffer, also one that is not kept, or in an extra state."""

    def __init__(self, classes, kind):
        super().__init__()
        self.head, self.kind = nn.LazyLinear(classes), kind
        self.register_buffer("mean", torch.zeros(()), persistent=kind != "not kept")

    def forward(self, images):
        if self.training:
            self.mean += images.mean() + 1
        return self.head(images.flatten(1)) + self.mean

    def get_extra_state(self):
        return {"mean": float(self.mean)} if self.kind == "dictionary" else torch.zeros(1)

    def set_extra_state(self, state):
        pass


def test_a_state_that_a_file_cannot_hold_is_refused_before_training():
    register_model("remembering", lambda channels, classes: Remembering(classes, "kept"))
    VictimConfig(model="remembering")
    for kind, words in (("dictionary", "_extra_state is a dict"), ("not kept", "a new network gives other logits")):
        register_model("remembering", lambda channels, classes, kind=kind: Remembering(classes, kind))
        with pytest.raises(ParameterError, match=rf"\Amodel='remembering': its state_dict must hold[^\n]*{words}\Z"):
            VictimConfig(model="remembering")


def test_a_network_is_checked_as_its_factory_now_makes_it():
    widths = [4]
    register_model("wide", lambda channels, classes: nn.Sequential(nn.Flatten(), nn.Linear(784, widths[-1]),
                                                                   nn.Linear(widths[-1], classes)))  # fmt: skip
    for width in (4, 6):
        widths.append(width)
        assert needs._network("wide", "fashion").get_parameter("1.weight").shape == (width, 784)
