"""Strangers' defenses in processes of their own: the scores are the library's, and whatever they do is one line."""

import warnings
from dataclasses import replace
from functools import partial
from types import ModuleType

import pytest
from toy_task import STATISTICS, toy

from bdlib.data.datasets import CLASS_NAMES, DATASETS, OWN
from bdlib.data.own import register_dataset
from bdlib.defenses import DEFENSES
from bdlib.experiments import records, victims
from bdlib.experiments.config import VictimConfig
from bdlib.experiments.run import reserved
from bdlib.submissions import outcome
from bdlib.submissions.child import in_words
from bdlib.submissions.defenses import evaluate_defense
from bdlib.submissions.jobs import DefenseJob
from bdlib.submissions.limits import Limits
from bdlib.submissions.source import read_source
from bdlib.submissions.table import among, as_runs

HEAD = """
import ctypes, gc, os, sys, time
from copy import deepcopy
from pathlib import Path
import torch
from torch import nn
"""
TUNED = """
from bdlib.defenses.fine_tune import fine_tune
def purify(model, clean, *, epochs=1, seed=0):
    print("I am here")
    clean.labels[:1] += 0 * clean.labels[:1]
    repaired = fine_tune(model, clean, epochs=epochs, milestone=1, batch_size=32, augmentation=None, seed=seed)
    model.head.bias.data.zero_()
    return repaired
"""
FLAGS = """
def purify(make_model, poisoned, clean, *, seed=0):
    frames, frame = [], sys._getframe()
    while frame:
        frames.append(frame.f_locals)
        frame = frame.f_back
    held = [o for o in gc.get_objects() if isinstance(o, torch.Tensor)] + [v for f in frames for v in f.values()]
    flags = [o for o in held if isinstance(o, torch.Tensor) and o.dtype == torch.bool and len(o) == len(poisoned)]
    assert not flags and not hasattr(poisoned, "is_poisoned") and "BDLIB_CACHE" not in os.environ
    assert not os.listdir(".") and not [name for name in sys.modules if name.startswith("bdlib.attacks")]
    assert "badnets" not in str(frames)
    raise RuntimeError("no flags")
"""
HOSTILE = {  # the body of purify, and what the line says
    "while True: pass": "time limit: purify took more than 1.5 s",
    "held = []\nwhile True: held.append(torch.ones(5_000_000))": "memory limit: it held",
    "ctypes.string_at(0)": "its process was ended by signal 11 (SIGSEGV)",
    "try: open(ZOO)\nexcept BaseException: return model": "zoo/manifest.csv: not allowed",
}
USELESS = {  # the body of purify, and the line, found without a process
    "return None": "purify returned None, not a network (torch.nn.Module)",
    "return model(torch.zeros(1, 3, 16, 16))": "purify returned a Tensor of shape (1, 4), torch.float32, not a network",
    "model.head = nn.Linear(128, 7); return model": "purify returned a network of 7 classes, not 4",
    "model.head.weight.data *= float('nan'); return model": "its result: gives logits that are not finite, so its",
    "return nn.Flatten()": "purify returned a network of 768 classes, not 4",
    "sys.exit(0)": "it called sys.exit(0) (own.py, line 10)",
    "raise ValueError('first\\nsecond')": "ValueError: first second (own.py, line 10)",
    "raise KeyboardInterrupt": "KeyboardInterrupt (own.py, line 10)",
    "return [0] * 10**15": "there was no memory left (own.py, line 10)",
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a file's `purify` on a victim of the toy task; gives its records, its failures and what was said."""
    monkeypatch.setattr(victims, "CACHE", CACHES.setdefault("cache", tmp_path / "cache"))
    monkeypatch.setattr(outcome, "RUNS", tmp_path / "runs")
    before = [(registry, dict(registry)) for registry in (DATASETS, CLASS_NAMES, OWN)]
    register_dataset("toy", toy(300, 0), toy(100, 1), augmentation=None)
    config = VictimConfig("toy", attack="badnets", victim_epochs=1)

    def evaluated(text, limits=None, configs=(config,)):
        (tmp_path / "own.py").write_text(HEAD + text)
        said = []
        made, failures = evaluate_defense(
            read_source(f"{tmp_path}/own.py:purify"), configs, clean_fraction=0.2, keywords={}, folder="quick",
            limits=limits or Limits(seconds=60), say=said.append, show=said.append,
        )  # fmt: skip
        return made, failures, said

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield partial(evaluated), config
    for registry, kept in before:
        registry.clear()
        registry.update(kept)


CACHES = {}


def test_its_scores_are_the_librarys_and_its_record_is_like_all_others(run, tmp_path):
    evaluated, config = run
    (record,), failures, said = evaluated(TUNED)
    clean = reserved(config, {"clean_fraction": 0.2, "seed": 0})[0]
    victim, test = victims.trained_victim(config), victims.load_data(config)[1]
    same = DEFENSES["fine_tune"](victim, clean, epochs=1, milestone=1, batch_size=32, augmentation=None, seed=0)
    assert record.after == victims.evaluate_victim(config, same, test) and not failures
    assert record.before == victims.evaluate_victim(config, victim, test)
    assert record.passes == {"forward": len(clean), "backward": len(clean)} and record.runtime["seconds"] > 0
    assert "I am here" in said and any("changes its input, model" in line for line in said)
    (path,) = (tmp_path / "runs" / "quick" / "comparison").iterdir()
    assert records.read(path) == replace(record, runtime=records.read(path).runtime)
    assert record.parameters["defense"] == "own" and len(record.parameters["file_sha256"]) == 64
    ours = as_runs([replace(record, parameters=record.parameters | {"defense": "nad"})])
    table = among(as_runs([record], "own"), ours, "badnets")
    assert list(table.index) == ["victim, undefended", "> own", "NAD"] and table.loc["> own", "seeds"] == "1"


def test_a_defense_that_trains_finds_no_flags(run):
    assert run[0](FLAGS)[1] == ["badnets, seed 0: FAILED: RuntimeError: no flags (own.py, line 18)"]


@pytest.mark.parametrize("body", HOSTILE)
def test_what_it_does_wrong_is_one_line(run, body):
    limits = Limits(seconds=1.5 if "pass" in body else 60, gigabytes=1.0)
    lines = body.replace("ZOO", repr(str(victims.zoo.folders.ZOO / "manifest.csv"))).splitlines()
    text = "\ndef purify(model, clean):\n    " + "\n    ".join(lines)
    made, failures, _ = run[0](text, limits)
    assert not made and len(failures) == 1 and HOSTILE[body] in failures[0] and "\n" not in failures[0]


@pytest.mark.parametrize("body", USELESS)
def test_what_is_no_use_is_one_line(body, tmp_path):
    path, clean = tmp_path / "own.py", toy(20, 0)
    path.write_text(f"{HEAD}\n\ndef purify(model, clean):\n    {body}\n")
    facts = {"sets": ["clean"], "model": "small_resnet", "channels": 3, "num_classes": 4, "mean": STATISTICS[0],
             "std": STATISTICS[1], "seed": 0, "arguments": ["model", "clean"], "keywords": {}}  # fmt: skip
    job = DefenseJob(facts, {"clean.images": clean.images, "clean.labels": clean.labels}, print)
    module = ModuleType("own")
    exec(compile(path.read_text(), path, "exec"), vars(module))
    with pytest.raises(BaseException) as caught:
        job.begin(module, "purify")
    line = in_words(caught.value, path, "purify")
    assert USELESS[body] in line and "\n" not in line


def test_a_network_that_hangs_on_the_test_images_is_one_line_and_the_next_victim_goes_on(run):
    text = """
class Slow(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model
    def forward(self, images):
        if len(images) > 2 and self.slow:
            time.sleep(60)
        return self.model(images)
def purify(model, clean, *, seed=0):
    slow = Slow(deepcopy(model))
    slow.slow = seed == 0
    return slow
"""
    limits, config = Limits(seconds=60, answer_seconds=1), run[1]
    made, failures, _ = run[0](text, limits, (config, replace(config, seed=1)))
    (line,) = failures
    assert line.startswith("badnets, seed 0: FAILED: time limit: the prediction of ") and "more than 1 s" in line
    assert len(made) == 1 and made[0].before == made[0].after
