"""The benchmark measures what it says, on a few steps."""

import importlib.util
from pathlib import Path

import pytest
from gpu import pretended

PATH = Path(__file__).parents[1] / "benchmarks" / "benchmark.py"


@pytest.fixture(scope="module")
def benchmark():
    specification = importlib.util.spec_from_file_location("benchmark", PATH)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_loop_is_set_beside_the_bare_step_and_a_conventional_pipeline(benchmark):
    rows = [row.told() for row in benchmark.training("quick", steps=3, turns=2, workers=0)]
    told = {row["measure"]: row["value"] for row in rows}
    assert len(told) == 5 and all(value > 0 for value in told.values())
    epoch = next(value for measure, value in told.items() if measure.startswith("seconds an epoch of 12,000"))
    assert epoch * told["images per second"] == pytest.approx(12_000, rel=0.05)
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)


def test_the_conventional_pipeline_feeds_the_same_images(benchmark):
    config = benchmark.VictimConfig(data_fraction=0.02)
    data = benchmark.poisoned_set(config).data
    pictures = benchmark.Pictures(data, config)
    pictures.transform = benchmark.torchvision.transforms.ToTensor()
    image, label = pictures[7]
    assert (image * 255).round().byte().equal(data.images[7]) and label == data.labels[7]


def test_turns_are_taken_in_turn_and_the_first_is_not_counted(benchmark):
    seen = []
    taken = benchmark.interleaved({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, turns=2)
    assert "".join(seen) == "ababab" and [len(seconds) for seconds in taken.values()] == [2, 2]


def test_what_half_precision_costs_is_measured_on_a_gpu_alone(benchmark):
    assert not list(benchmark.precision("quick"))
    with pretended():
        rows = [row.told() for row in benchmark.precision("quick", seeds=2, data_fraction=0.05)]
    assert [row["measure"][:3] for row in rows] == ["ACC", "ASR"]
    assert all(abs(row["low"]) < 30 and row["low"] <= row["high"] for row in rows)
    assert any(row["low"] or row["high"] for row in rows)  # the two ways are not the same one
