"""A small claim, and small tables of runs to judge it by."""

import pandas as pd
import pytest

from bdlib.claims.schema import read_claim
from bdlib.claims.verdicts import judge_runs


@pytest.fixture
def entry():
    """The small claim, as it would be written."""
    return {"id": "nad-x", "paper": "nad", "source": "table 1", "statement": "It works.", "metric": "asr",
            "method": "NAD", "expected": "below 0.1"}  # fmt: skip


@pytest.fixture(name="runs_of")
def fixture_runs_of():
    return runs_of


def runs_of(*rows, **columns):
    """A study: each row is (attack, method, ASR of seed 0, ASR of seed 1, ...); the victim's ASR is 1, its ACC 0.9."""
    table = [
        {"attack": attack, "rho": 0.0, "beta": (0.0, 0.0), "seed": seed, "clean_accuracy_before": 0.9,
         "asr_before": 1.0, "robust_accuracy_before": 0.0, "clean_accuracy_after": 0.8, "asr_after": asr,
         "robust_accuracy_after": 1 - asr, "der": 0.5, "seconds": 2.0, "method": method}
        for attack, method, *by_seed in rows for seed, asr in enumerate(by_seed)
    ]  # fmt: skip
    names = ["attack", "rho", "beta", "seed", "clean_accuracy_before", "asr_before", "asr_after", "method"]
    return pd.DataFrame(table, columns=list(table[0]) if table else names).assign(**columns)


@pytest.fixture
def claim(entry):
    """The small claim, with changes; a change to None takes the key away."""

    def make(**changes):
        return read_claim({key: value for key, value in (entry | changes).items() if value is not None})

    return make


@pytest.fixture
def judged(claim):
    """The small claim with changes, judged by rows as `runs_of` takes them, or by `runs`."""

    def make(*rows, runs=None, **changes):
        return judge_runs(claim(**changes), runs_of(*rows) if runs is None else runs)

    return make
