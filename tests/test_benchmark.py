"""The benchmark measures what it says, on a few steps."""

import benchmark
import measure
import pytest
import training_speed
from gpu import pretended

from bdlib.experiments.victims import VictimConfig, poisoned_set


def test_the_loop_is_set_beside_the_bare_step_and_a_conventional_pipeline():
    rows = [row.cells() for row in training_speed.training("quick", steps=3, turns=3, workers=0)]
    values = {row["measure"]: row["value"] for row in rows}
    assert len(values) == 5 and all(value > 0 for value in values.values())
    epoch = next(value for measure, value in values.items() if measure.startswith("seconds an epoch of 12,000"))
    assert epoch * values["images per second"] == pytest.approx(12_000, rel=0.05)
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)


def test_the_conventional_pipeline_feeds_the_same_images():
    config = VictimConfig(data_fraction=0.02)
    data = poisoned_set(config).data
    pictures = training_speed.Pictures(data, config)
    pictures.transform = training_speed.torchvision.transforms.ToTensor()
    image, label = pictures[7]
    assert (image * 255).round().byte().equal(data.images[7]) and label == data.labels[7]


def test_turns_are_taken_in_turn_and_the_first_is_not_counted():
    seen = []
    seconds = measure.interleaved({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, turns=2)
    assert "".join(seen) == "ababab" and [len(one) for one in seconds.values()] == [2, 2]


def test_what_half_precision_costs_is_measured_on_a_gpu_alone():
    assert not list(benchmark.precision("quick"))
    with pretended():
        rows = [row.cells() for row in benchmark.precision("quick", seeds=2, data_fraction=0.05)]
    assert [row["measure"][:3] for row in rows] == ["ACC", "ASR"]
    assert all(abs(row["low"]) < 30 and row["low"] <= row["high"] for row in rows)
    assert any(row["low"] or row["high"] for row in rows)  # the two ways are not the same one
