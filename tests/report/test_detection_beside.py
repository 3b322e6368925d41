"""VDC beside other detectors: tables with what was published, and what they say where nothing was run."""

import pandas as pd

from bdlib.experiments import records, studies
from bdlib.report.detection_beside import beside_table, beside_words, noise_beside_table, with_order


def runs():
    votes = {"tpr_0": 0.5, "fpr_0": 0.02, "tpr_1": 0.7, "fpr_1": 0.08, "tpr_2": 0.9, "fpr_2": 0.2}
    rows = [{"method": "VDC", "attack": "badnets", "seed": s, "tpr": 0.9, "fpr": 0.2, "symmetric_tpr": 0.8} | votes
            for s in (0, 1)]  # fmt: skip
    rows += [{"method": "STRIP", "attack": a, "seed": 0, "tpr": 0.5, "fpr": 0.01, "found_at_10": 0.6}
             for a in ("badnets", "wanet")]  # fmt: skip
    return pd.DataFrame(rows)


def test_each_detector_has_a_row_beside_its_published_one():
    table = beside_table(runs(), records.reported("vdc"))
    assert list(table.index) == [("BadNets", "VDC"), ("BadNets", "STRIP"), ("WaNet", "STRIP")]
    assert list(table["TPR, reported (%)"]) == ["99.93", "94.22", "3.82"]
    assert list(table["TPR at 10 % FPR (%)"]) == ["70.0 [70.0, 70.0]", "60.0", "60.0"]
    assert "TPR, reported (%)" not in beside_table(runs())


def test_the_rows_of_an_attack_are_together():
    table = beside_table(pd.concat([runs(), runs().query("method == 'VDC'").assign(attack="wanet")]))
    assert list(table.index.get_level_values(0)) == ["BadNets", "BadNets", "WaNet", "WaNet"]


def test_the_order_of_vdc_is_its_best_vote_with_few_false_alarms():
    assert list(with_order(runs())["order"]) == [0.7, 0.7, 0.6, 0.6]


def test_label_noise_has_a_row_for_each_kind_and_detector():
    table = noise_beside_table(runs(), records.reported("vdc"))
    assert table.loc[("symmetric", "VDC"), "TPR (%)"] == "80.0 [80.0, 80.0]"
    assert table.loc[("symmetric", "VDC"), "TPR, reported (%)"] == "98.81"
    assert table.loc[("symmetric", "STRIP"), "TPR (%)"] == "" and len(table) == 6


def test_the_words_order_the_detectors_by_what_they_find_beyond_false_alarms():
    assert "- **BadNets**: VDC 70.0, STRIP 49.0." in beside_words(runs())


def test_nothing_run_is_a_table_and_a_sentence_that_say_so():
    nothing = studies.load_study("vdc", "quick", "detectors").iloc[:0]
    for table in (beside_table(nothing), noise_beside_table(nothing, records.reported("vdc"))):
        assert table.iloc[0, 0] == "not run yet"
    assert beside_words(nothing).startswith("No detector has a record")
