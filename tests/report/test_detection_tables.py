"""Tables of detectors: rates over seeds beside the published ones, and what they say where nothing was run."""

import pandas as pd

from bdlib.experiments import records, studies
from bdlib.report import detection


def runs(attacks=("badnets", "blended"), seeds=(0, 1, 2)):
    rows = [{"attack": a, "seed": s, "tpr": 0.9 + s / 100, "fpr": 0.1, "symmetric_tpr": 0.8, "tpr_0": 0.0, "fpr_0": 0.0,
             "tpr_1": 1.0, "fpr_1": 0.5} for a in attacks for s in seeds]  # fmt: skip
    return pd.DataFrame(rows)


def test_rates_stand_beside_the_published_ones():
    published = records.reported("vdc")
    table = detection.rates_table(runs(), published, method="VDC")
    assert table.loc["BadNets", "TPR, reported (%)"] == "99.93" and table.loc["Blended", "FPR, reported (%)"] == "2.75"
    assert table.loc["BadNets", "TPR, here (%)"].startswith("91.0 [") and table.loc["BadNets", "seeds"] == "3"
    noise = detection.noise_table(runs(), published, method="VDC")
    assert noise.loc["symmetric", "TPR, reported (%)"] == "98.81" and noise.loc["hybrid", "TPR, here (%)"] == ""


def test_the_published_rows_are_whole_and_their_fpr_is_the_same_under_every_attack():
    own = records.reported("vdc").query("defense == 'VDC' and table.str.startswith('poisoned')")
    assert (own.groupby("dataset")["fpr_percent"].nunique() == 1).all() and own["dataset"].nunique() == 3


def test_the_sentence_about_the_fpr_counts_attacks_of_a_seed():
    assert detection.same_fpr(runs()).count("0.00 points over 2 attacks") == 3
    assert detection.same_fpr(runs(attacks=["badnets"])) == "No seed has records of two attacks yet."


def test_nothing_run_is_an_empty_table_and_a_sentence():
    nothing = studies.load_study("vdc", "quick", "headline").iloc[:0]
    assert detection.rates_table(nothing, records.reported("vdc"), method="VDC").empty
    assert detection.same_fpr(nothing).startswith("No record")
    assert detection.over_thresholds(nothing, 6) == {"TPR": ([], []), "FPR": ([], [])}
    assert detection.over_thresholds(runs(), 1) == {"TPR": ([0.0, 1.0], [0.0, 100.0]), "FPR": ([0.0, 1.0], [0.0, 50.0])}


def test_what_missed_poison_does_follows_the_runs():
    runs = pd.DataFrame({"answer_error": [0.0, 0.2], "missed": [0, 45], "asr_after": [0.02, 0.037]})
    few = detection.missed_words(runs)
    assert (
        "Rates of error recorded so far: 2, in 2 runs. At most 45 poisoned images are missed, and at most 3.7 %" in few
    )
    assert "So few do not teach" in few and "turns upward" not in few
    assert "turns upward" in detection.missed_words(runs.assign(asr_after=0.5))
    assert detection.missed_words(runs.iloc[:1]).endswith("None of them misses a poisoned image yet.")
    assert "in 0 runs" in detection.missed_words(runs.iloc[:0])
