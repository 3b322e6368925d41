"""The benchmark measures what it says, on a few steps."""

import time
from contextlib import closing

import benchmark
import conventional
import costs
import measure
import pytest
import training_speed
from bare_step import operations
from gpu import pretended

from bdlib.experiments import notebooks
from bdlib.experiments.victims import VictimConfig, poisoned_set


class Here:
    """Stands for a process of its own, which takes seconds to start."""

    def __init__(self, *asked):
        self.asked = asked

    def __call__(self):
        time.sleep(0.1)
        return {"seconds": 0.1}

    begin = end = close = __call__


def test_the_loop_is_set_beside_the_bare_step_and_what_else_trains(monkeypatch):
    monkeypatch.setattr(training_speed, "Elsewhere", Here)
    monkeypatch.setattr(training_speed, "find_spec", lambda name: name == "art")
    rows = [row.cells() for row in training_speed.training("quick", steps=2, turns=2, workers=0)]
    values = {row["measure"]: row["value"] for row in rows}
    assert len(values) == 11 and all(value > 0 for value in values.values())
    whole = values["minutes of the victim's 8 epochs, from 2 steps: loop"] * 60
    assert whole * values["images per second"] == pytest.approx(8 * 12_000, rel=0.05)
    assert values["rate of its products, % of the machine's"] < 120
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)


def test_what_is_not_installed_is_left_out_of_the_table(monkeypatch):
    measured = {way: [1.0] for way in ("loop", "bare", "bare elsewhere", "conventional", "products")}
    monkeypatch.setattr(training_speed, "timings", lambda *_: measured)
    assert not [row for row in training_speed.training("quick", steps=1) if "art" in row.measure.lower().split()]


def test_a_process_of_its_own_trains_and_one_that_dies_is_no_zero():
    with closing(measure.Elsewhere("bare", "quick", "small_resnet", 1)) as way:
        assert 0 < way()["seconds"] < 100
        way.process.kill()
        way.process.wait()
        with pytest.raises((RuntimeError, BrokenPipeError)):
            way()


def test_operations_are_those_of_the_convolutions_forward_and_back():
    config = VictimConfig(data_fraction=0.02)
    data = poisoned_set(config).data[:64]
    one_image = operations(config, data) / 64
    assert one_image == operations(config, data[:32]) / 32
    first = 2 * 32 * 9 * 14 * 14  # the stem sees the image: its backward pass has the weights alone
    assert 3 * first < one_image < 1e9


def test_a_defenses_seconds_are_set_beside_its_passes(monkeypatch):
    monkeypatch.setattr(costs, "trained_victim", lambda config: config.untrained())
    parameters = notebooks.parameters("comparison", "smoke") | {"defense": "fine_tune"}
    seconds, training, looking, explained = [row.values[0] for row in costs.live("fine_tune", "comparison", parameters)]
    assert seconds > 0 and training >= parameters["epochs"] and looking < 1 and explained > 0


def test_the_conventional_pipeline_feeds_the_same_images():
    config = VictimConfig(data_fraction=0.02)
    data = poisoned_set(config).data
    pictures = conventional.Pictures(data, config)
    pictures.transform = conventional.torchvision.transforms.ToTensor()
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
