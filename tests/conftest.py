"""The toy task as fixtures, shared by all tests."""

import importlib

import pytest
from toy_task import STATISTICS, toy  # says first that bdlib takes one thread

from bdlib.attacks.badnets import BadNets
from bdlib.attacks.poisoning import poison
from bdlib.data.images import ImageSet
from bdlib.defenses.vdc.answerers.oracle import OracleAnswerer
from bdlib.models import seeded, small_resnet
from bdlib.training.loop import Schedule, train

SLOWEST = ("test_notebooks.py", "test_gpu.py", "test_reliability.py", "test_golden.py")  # begun first, in this order


def pytest_collection_modifyitems(items):
    """Two processes share the files: the longest go first, so that neither waits for the other at the end."""
    items.sort(key=lambda item: [*SLOWEST, item.path.name].index(item.path.name))


@pytest.fixture(scope="session")
def trigger():
    return BadNets(size=3)


@pytest.fixture(scope="session")
def clean():
    return toy(200, seed=1)


@pytest.fixture(scope="session")
def test_set():
    return toy(400, seed=2)


@pytest.fixture(scope="session")
def poisoned(trigger):
    return poison(toy(1000, seed=0), trigger, target_label=0, poison_rate=0.1, seed=0)


@pytest.fixture(scope="session")
def answerer(poisoned):
    """Answers every question about the toy task's poisoned set as its true labels have it."""
    names = ("first", "second", "third", "fourth")
    return OracleAnswerer(ImageSet(poisoned.data.images, toy(1000, seed=0).labels), names)


@pytest.fixture(scope="session")
def make_model():
    return lambda: seeded(lambda: small_resnet(3, 4, *STATISTICS), seed=0)


@pytest.fixture(scope="session")
def backdoored(poisoned, make_model):
    return train(make_model(), poisoned.data, Schedule(4, 0.05, batch_size=64, augmentation=None))


@pytest.fixture
def one_file_module(tmp_path, monkeypatch):
    """Turns source text into the only module of a package of its own, as somebody would who adds one file."""

    def build(name, source):
        package = tmp_path / f"toy_{name}"
        package.mkdir()
        (package / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        return importlib.import_module(f"toy_{name}.{name}")

    return build
