"""What the records say across papers."""

import pandas as pd

from bdlib.report import across


def test_worst_cases_are_the_highest_cell_and_only_undominated_repairs_are_named(monkeypatch, runs_of):
    headline = pd.concat([
        runs_of("NAD", (0.02, 0.04, 0.03)), runs_of("NAD", (0.10, 0.20, 0.30), attack="sig"),
        runs_of("NWC", (0.05, 0.05, 0.05)), runs_of("NWC", (0.40, 0.40, 0.40), attack="sig"),
        runs_of("SAU", (0.50, 0.50, 0.50)), runs_of("AR", (0.01, 0.01, 0.01)),
    ])  # fmt: skip
    prices = {"NAD": 0.86, "NWC": 0.90, "SAU": 0.89}  # SAU costs more than NWC and leaves more; AR has no twin
    twins = pd.concat([runs_of(method, (0, 0, 0), acc=(acc,) * 3, attack="none") for method, acc in prices.items()])
    monkeypatch.setattr(across, "_every_repair", lambda scale, names: twins if names == ("clean_model",) else headline)
    table = across.what_is_left("quick").set_index("method")
    assert list(table.index) == ["AR", "NAD", "NWC", "SAU"] and list(table["worst"]) == ["1", "20", "40", "50"]
    assert table.loc["NAD", "SIG"] == "20" and table.loc["SAU", "SIG"] == "" == table.loc["AR", "cost"]
    sentence = across.worst_cases("quick")
    assert "NAD (20 %, 5.0 points), NWC (40 %, 1.0 points)." in sentence
    assert not any(name in sentence for name in ("SAU", "AR"))


def test_a_repair_is_named_where_its_seeds_differ_widely(monkeypatch, runs_of):
    runs = pd.concat([
        runs_of("NAD", (0.02, 0.04, 0.60)), runs_of("NAD", (0.10, 0.20, 0.25), attack="sig"),
        runs_of("SAU", (0.00, 0.90, 0.90)).iloc[:2], runs_of("AR", (0.01, 0.95, 0.50)),
    ])  # fmt: skip
    monkeypatch.setattr(across, "_every_repair", lambda scale, names: runs)
    sentence = across.seed_spreads("quick")
    assert ": AR on BadNets (1.0 to 95.0), NAD on BadNets (2.0 to 60.0). One" in sentence
    assert "SAU" not in sentence and "SIG" not in sentence  # two seeds; and fifteen points
    monkeypatch.setattr(across, "_every_repair", lambda scale, names: runs.iloc[:0])
    assert across.seed_spreads("quick").startswith("No repair")


def test_methods_that_train_have_a_second_score(monkeypatch, runs_of):
    runs = {
        "abl": pd.concat([runs_of("ABL", (0.05, 0.03, 0.04), recalibrated_asr=0.9), runs_of("a control", (0, 0, 0))]),
        "pdb": runs_of("PDB", (0.02, 0.04), acc=(0.8, 0.8), attack="sig", robust_accuracy_after=0.12),
    }
    monkeypatch.setattr(across.studies, "load_study", lambda paper, scale, name: runs[paper])
    rows = across.second_scores("quick").to_numpy().tolist()
    assert rows == [
        ["ABL", "BadNets", "quick", "4", "ASR, BatchNorm recalibrated", "90"],
        ["PDB", "SIG", "quick", "3*", "RA", "12*"],
    ]
    monkeypatch.setattr(across.studies, "load_study", lambda paper, scale, name: runs[paper].iloc[:0])
    assert across.second_scores("quick").loc[0, "attack"] == "not run yet"


def test_the_table_holds_the_settings_of_a_chapter_but_no_control_of_equal_steps():
    table = across.what_is_left("cifar").set_index("method")
    assert {"NWC", "NWC, share by rule", "ANP by accuracy", "shared control"} <= {*table.index}
    runs = across.comparison.repairs("cifar")
    mine = runs[(runs["method"] == "fine-tuning") & (runs["attack"] == "blended")]  # the baseline's, not a chapter's
    assert table.loc["fine-tuning", "Blended"] == f"{100 * mine['asr_after'].mean():.0f}" and len(mine) == 3
    assert across.what_is_left("paper").loc[0, "worst"] == "not run yet"
