"""Claims that compare a repair with the fine-tuning that all repairs share."""

import pandas as pd
import pytest

from bdlib.claims.values import check_claim
from bdlib.claims.verdicts import judge
from bdlib.experiments import studies


def test_its_runs_are_read_from_another_page_where_a_claim_names_it(claim, runs_of, monkeypatch):
    own, shared = runs_of(("badnets", "NAD", 0.1, 0.1)), runs_of(("badnets", "shared control", 0.4, 0.4))
    monkeypatch.setattr(studies, "load_study", lambda *_: own)
    monkeypatch.setattr(studies, "with_shared_control", lambda runs, scale: pd.concat([runs, shared]))
    group = judge(claim(versus="shared control", how="difference", expected="below 0"), "quick").groups[0]
    assert group.mean == pytest.approx(-0.3)
    assert not judge(claim(versus="fine-tuning", how="difference", expected="below 0"), "quick").groups


def test_what_it_plans_answers_a_claim(claim):
    check_claim(claim(versus="shared control", how="difference", expected="below 0"))
