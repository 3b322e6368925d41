"""Records of a few methods, as a study would give them."""

import pandas as pd
import pytest


def runs_of(method, asr, *, acc=(0.85, 0.86, 0.84), attack="badnets", **changes):
    """A method's records on three seeds of an attack, as `load_study` would give them."""
    rows = []
    for seed, (success, right) in enumerate(zip(asr, acc, strict=True)):
        rows.append({"method": method, "attack": attack, "seed": seed, "dataset": "fashion", "data_fraction": 1.0,
                     "model": "small_resnet", "target_label": 0, "victim_epochs": 8, "victim_batch_size": 64,
                     "clean_fraction": 0.05, "poison_rate": 0.1, "clean_accuracy_before": 0.9 + seed / 100,
                     "asr_before": 0.99, "robust_accuracy_before": 0.01, "asr_after": success,
                     "clean_accuracy_after": right, "robust_accuracy_after": 1 - success,
                     "der": (0.99 - success - (0.9 + seed / 100 - right) + 1) / 2, "seconds": 5.0 + seed,
                     "epochs": 20, "batch_size": 32} | changes)  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(name="runs_of")
def fixture_runs_of():
    return runs_of


@pytest.fixture
def three(runs_of):
    """A strong method, a weak one, and one whose seeds disagree."""
    return pd.concat([runs_of("ANP", (0.5, 0.9, 0.1)), runs_of("NAD", (0.02, 0.03, 0.02)),
                      runs_of("fine-tuning", (0.60, 0.62, 0.61))])  # fmt: skip


@pytest.fixture
def gains():
    """At rate 1, LPS is ahead by about 20 points on each of four seeds; at rate 2 by as much as it is behind."""
    rows = []
    for rate, by_seed in ((1, (0.20, 0.22, 0.18, 0.20)), (2, (0.3, -0.3, 0.2, -0.2))):
        for seed, gain in enumerate(by_seed):
            base = 0.4 + 0.05 * seed  # seeds differ by more than methods: only pairing sees through it
            rows.append({"rate": rate, "seed": seed, "method": "random", "asr_after": base})
            rows.append({"rate": rate, "seed": seed, "method": "LPS", "asr_after": base + gain})
    return pd.DataFrame(rows).assign(clean_accuracy_after=0.8)
