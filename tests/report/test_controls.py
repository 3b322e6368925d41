"""A chapter's own control, and the one that all chapters on repairs share."""

import pandas as pd

from bdlib.report import sentences
from bdlib.report.book_files import findings


def test_a_method_is_compared_with_both_controls(runs_of):
    parts = [("RNP", (0.1, 0.11, 0.12)), ("fine-tuning", (0.8, 0.81, 0.82)), ("shared control", (0.02, 0.03, 0.04))]
    words = sentences.against_controls(pd.concat([runs_of(*part) for part in parts]), method="RNP")
    own, shared = words.split("The *shared control* is the same in all chapters on repairs")
    assert "**RNP** removes more" in own and "RNP minus fine-tuning: -70.0" in own
    assert "**shared control** removes more" in shared and "RNP minus shared control: 8.0" in shared


def test_its_records_may_be_missing(runs_of):
    words = sentences.against_controls(runs_of("RNP", (0.1, 0.1, 0.1)), method="RNP")
    assert words.count("No seed has records of both RNP and") == 2
    assert len(findings("quick")) >= 1
