"""Every wrong argument of every public function is one line that names it, before any compute.

The arguments are computed from the registries and the annotations (`wrong_inputs`), so that a new method is tested too.
"""

import inspect
from types import SimpleNamespace

import jaxtyping
import numpy as np
import pytest
import torch
from torch import nn
from toy_task import toy
from wrong_inputs import CLASSES, NETWORKS, cases, functions, misfits, network, outcome

from bdlib.checks import ParameterError, checked, keywords
from bdlib.data.images import ImageSet
from bdlib.defenses import DEFENSES
from bdlib.defenses.vdc.answerers.oracle import OracleAnswerer
from bdlib.evaluation.metrics import evaluate
from bdlib.models import Normalize, predict
from bdlib.training.loop import Schedule, train
from bdlib.words import _Schema


@pytest.fixture(autouse=True)
def plain_python(monkeypatch):
    """What users have: the checks of the library, without the tests' type checker in front of them."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


FAST = dict(teacher_epochs=1, student_epochs=1, epochs=1, mask_epochs=1, unlearning_epochs=1, recovery_epochs=1,
            warm_up_epochs=1, isolation_epochs=1, batch_size=8, isolation_rate=0.1, augmentation=None,
            stop_accuracy=0.9)  # fmt: skip


@pytest.mark.parametrize("name", functions())
def test_a_wrong_argument_is_one_line_that_names_it(name):
    wrong = {f"{p}={value!r}": outcome(name, {p: value}) for p, value in cases(name)}
    wrong |= {f"{p} {words}": outcome(name, {p: value}) for p, words, value in misfits(name)}
    assert {shown: what for shown, what in wrong.items() if what != "refused"} == {}


@pytest.mark.parametrize("name", [name for name, function in functions().items() if not inspect.isclass(function)])
def test_the_ends_of_a_range_pass(name):
    function = getattr(functions()[name], "func", functions()[name])
    for allowed in keywords(function).values():
        schema = allowed.json_schema(schema_generator=_Schema)
        for end in ("minimum", "maximum"):
            if end in schema:
                whole = schema["type"] == "integer"
                allowed.validate_python(int(schema[end]) if whole else float(schema[end]))


IMAGES, LABELS = toy(6, 0).images, toy(6, 0).labels


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (IMAGES.float() / 255, LABELS, r"\(images \* 255\).round\(\).to\(torch.uint8\)"),
        (IMAGES.double(), LABELS, "uint8"),
        (IMAGES.short(), LABELS, r"images.to\(torch.uint8\)"),
        (IMAGES.bool(), LABELS, "uint8"),
        (IMAGES.numpy(), LABELS, "torch.as_tensor"),
        (list(IMAGES), LABELS, "torch.as_tensor"),
        (IMAGES.permute(0, 2, 3, 1), LABELS, r"images.permute\(0, 3, 1, 2\)"),
        (IMAGES[:, 0], LABELS, r"images\[:, None\]"),
        (IMAGES[:, :, :0], LABELS, "shape"),
        (IMAGES, LABELS.int(), r"labels.long\(\)"),
        (IMAGES, LABELS.float(), r"labels.long\(\)"),
        (IMAGES, LABELS.bool(), r"labels.long\(\)"),
        (IMAGES, LABELS[:, None], r"labels.flatten\(\)"),
        (IMAGES, LABELS.tolist(), "torch.as_tensor"),
        (IMAGES, np.arange(6), "torch.as_tensor"),
        (IMAGES, LABELS - 100, "they are -"),
        (IMAGES, LABELS + 2**40, "they are"),
        (IMAGES.to_sparse(), LABELS, "images.to_dense"),
        (IMAGES, LABELS.to_sparse(), "labels.to_dense"),
        (IMAGES, LABELS[:5], "6 images but 5 labels"),
        (IMAGES, LABELS.to("meta"), "on meta, but the images are on cpu"),
    ],
)
def test_an_image_set_says_how_to_convert_what_is_none(images, labels, words):
    with pytest.raises(ParameterError, match=rf"\A(images|labels)[^\n]*{words}[^\n]*\Z"):
        ImageSet(images, labels)


@pytest.mark.parametrize("keep", [3, [1, 2], "all", None, (slice(1), 0), torch.tensor([0.0]), torch.tensor(1)])
def test_a_subset_is_taken_by_a_mask_positions_or_a_slice(keep):
    with pytest.raises(ParameterError, match="must be a mask"):
        toy(6, 0)[keep]


def test_one_channel_is_not_broadcast_to_three():
    with pytest.raises(ParameterError, match="takes 3 channels, not 1"):
        Normalize((0.5,) * 3, (0.5,) * 3)(torch.rand(2, 1, 4, 4))


class Tokens(nn.Module):
    """A small vision transformer: no BatchNorm, no feature maps but those of its patches."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.patch, self.blocks = nn.Conv2d(3, 16, 4, 4), nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.fc = nn.Linear(16, 4)

    def forward(self, images):
        return self.fc(self.blocks(self.patch(images).flatten(2).transpose(1, 2)).mean(1))


OTHERS = {
    "tokens": (Tokens, dict(layers=["blocks"], layer="blocks", readout="fc", beta=[1.0])),
    "convolution": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                                          nn.Linear(8, 4)), dict(layers=["0"], layer="0", readout="4", beta=[1.0])),
    "batch norm of vectors": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(768, 8), nn.BatchNorm1d(8), nn.ReLU(),
                                                    nn.Linear(8, 4)),
                              dict(layers=["1"], layer="1", readout="1", beta=[1.0])),
    "no weights": (lambda: nn.Sequential(nn.AdaptiveAvgPool2d((2, 1)), nn.Flatten()),
                   dict(layers=["0"], layer="0", readout="0", beta=[1.0])),
}  # fmt: skip


@pytest.mark.parametrize("count", [9, 1])
@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("key", DEFENSES)
def test_a_method_works_with_a_network_or_says_what_it_needs(key, kind, count):
    build, layers = OTHERS[kind]
    data, model = toy(count, 0) if count > 4 else ImageSet(IMAGES[:1], LABELS[:1] * 0), build().eval()
    there = {"model": model, "clean": data, "make_model": lambda: model, "poisoned": data, "class_names": CLASSES,
             "answerer": OracleAnswerer(data, CLASSES, error=0.0, seed=0)}  # fmt: skip
    known = inspect.signature(DEFENSES[key]).parameters
    settings = {name: value for name, value in (FAST | layers).items() if name in known}
    try:
        assert isinstance(DEFENSES[key](*[there[name] for name in known if name in there], **settings), nn.Module)
    except ParameterError as error:
        assert "\n" not in str(error) and str(error).startswith(
            ("model", "layer", "readout", "batch_size", "isolation", "threshold")
        )


@pytest.mark.parametrize(
    ("key", "wrong", "words"),
    [
        ("nad", dict(layers=["head"], beta=[1.0]), "layers='head': must give out maps"),
        ("nad", dict(layers=["pool"], beta=[1.0]), "layers='pool': must give out maps larger than one pixel"),
        ("nad", dict(layers=["layer1"]), "beta=.*: must have 1 numbers"),
        ("ar", dict(layers=["pool"]), "layers='pool': must hold a convolution"),
        ("npd", dict(layer="head"), "layer='head': must take maps"),
        ("fine_prune", dict(readout="layer1"), "readout='layer1': must be a linear layer"),
        ("abl", dict(isolation_rate=1e-9), "isolation_rate=1e-09: isolates 0 of 24 images"),
        ("pdb", dict(label_shift=4), "label_shift=4: must be from 0 to 3"),
        ("pdb", dict(defensive_trigger_size=16), "defensive_trigger_size=16: nothing is left"),
    ],
)
def test_what_a_method_cannot_do_is_said_before_it_trains(key, wrong, words, monkeypatch):
    monkeypatch.setattr(torch.optim.Optimizer, "step", None)
    there = {"model": network(), "clean": toy(24, 0), "make_model": network, "poisoned": toy(24, 0)}
    known = inspect.signature(DEFENSES[key]).parameters
    with pytest.raises(ParameterError, match=rf"\A{words}[^\n]*\Z"):
        DEFENSES[key](*[there[name] for name in known if name in there], **wrong)


def test_a_new_method_gets_the_checks_with_its_decorator():
    @checked
    def method(model: nn.Module, clean: ImageSet, *, seed: int = 0) -> nn.Module:
        return model

    assert isinstance(method(network(), toy(8, 0)), nn.Module)
    for make in NETWORKS.values():
        with pytest.raises(ParameterError, match=r"\A(model|clean)[^\n]*\Z"):
            method(make(), toy(8, 0))


def test_swapped_and_frozen_arguments_are_refused():
    with pytest.raises(ParameterError, match="model=ImageSet"):
        predict(toy(4, 0), network())
    with pytest.raises(ParameterError, match="frozen"):
        train(network().requires_grad_(False), toy(4, 0), Schedule(1, 0.1))


def test_looking_at_a_network_leaves_the_mode_of_each_layer():
    model = network().train()
    model.layer1.eval()
    before = [module.training for module in model.modules()]
    predict(model, toy(4, 0))
    assert [module.training for module in model.modules()] == before


def test_only_images_of_the_target_class_give_no_success_rate(trigger):
    data = toy(40, 0)
    with pytest.raises(ParameterError, match="no image whose label the attack changes"):
        evaluate(network(), data[data.labels == 0], trigger, target_label=0)


def test_long_values_are_cut():
    with pytest.raises(ParameterError) as raised:
        predict(network(), SimpleNamespace(images="x" * 5000))
    assert len(str(raised.value)) < 300
