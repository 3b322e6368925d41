"""Tables of scores and records: what nobody ran or published stays empty."""

import pandas as pd
import pytest

from bdlib.attacks import ATTACKS
from bdlib.checks import ParameterError
from bdlib.evaluation.metrics import Scores
from bdlib.experiments import names
from bdlib.experiments.names import attack_name, attack_title, group_name
from bdlib.experiments.records import reported
from bdlib.report import tables


def test_a_method_is_called_by_its_key():
    called = [tables.method_name(key) for key in ("nad", "ft_sam", "fine_tune", "none")]
    assert called == ["NAD", "FT-SAM", "fine-tuning", "victim"]


def test_the_scores_of_models_with_the_victim_first():
    table = tables.scores({"victim": Scores(0.9, 1.0, 0.0, 0.9), "NAD": Scores(0.85, 0.05, 0.8, 0.85)})
    assert table.loc["NAD"].tolist() == ["85.0", "5.0", "80.0", "95.0"] and table.loc["victim", "DER (%)"] == "50.0"


def test_means_have_intervals_that_end_where_shares_end(three):
    table = tables.means(three, ["attack", "method"], tables.ALL_SCORES)
    assert list(table) == ["ACC (%)", "ASR (%)", "RA (%)", "seeds"] and table.index.names == ["attack", "method"]
    assert table.loc[("BadNets", "NAD")].tolist() == ["85.0 [82.5, 87.5]", "2.3 [0.9, 3.8]", "97.7 [96.2, 99.1]", 3]
    assert table.loc[("BadNets", "ANP"), "ASR (%)"] == "50.0 [0.0, 100.0]"
    assert tables.means(three[three["seed"] == 0], ["method"]).loc["NAD", "ASR (%)"] == "2.0"  # one seed, no interval
    assert list(tables.means(three.iloc[:0], ["method"])) == ["ACC (%)", "ASR (%)", "seeds"]


@pytest.mark.parametrize("table", [tables.means, lambda runs, by, columns: tables.measurements(runs, columns, by)])
def test_a_heading_that_two_columns_share_is_refused(table, three):
    with pytest.raises(ParameterError, match="columns: the heading 'after' is given twice"):
        table(three, ["method"], {"asr_after": "after", "asr_before": "before", "der": "after"})


def test_groups_stay_together_whatever_the_order_of_the_runs(three, runs_of):
    mixed = pd.concat([three, runs_of("NAD", (0, 0, 0), attack="sig")])
    assert list(tables.means(mixed, ["method", "attack"]).index) == [
        ("ANP", "BadNets"), ("NAD", "BadNets"), ("NAD", "SIG"), ("fine-tuning", "BadNets"),
    ]  # fmt: skip


def test_measurements_keep_missing_cells_empty(runs_of):
    """A mean with its interval where seeds measured it, the mean of one seed, nothing where none did."""
    runs = pd.concat([runs_of("NAD", (0, 0, 0)), runs_of("fine-tuning", (0, 0, 0))])
    runs = runs.assign(height=[1.0, 2.0, 3.0, None, None, None], width=[5.0, None, None, 7.0, None, None])
    headings = {"height": "how high", "width": "how wide", "depth": "how deep"}
    table = tables.measurements(runs, headings, ["attack", "method"])
    assert list(table.columns) == ["how high", "how wide"]
    assert table.loc[("BadNets", "NAD")].tolist() == ["2.00 [-0.48, 4.48]", "5.00"]
    assert table.loc[("BadNets", "fine-tuning")].tolist() == ["", "7.00"]
    assert tables.measurements(runs, headings, ["method"], digits=0).loc["NAD", "how high"] == "2 [-0, 4]"
    assert tables.measurements(runs.iloc[:0], {"height": "how high"}, ["attack", "method"]).empty


def test_the_interval_of_a_share_ends_with_its_range(runs_of):
    runs = runs_of("NAD", (0, 0, 0)).assign(auroc=[0.9, 0.99, 1.0], woken=[0.0, 0.1, 0.0], drift=[0.9, 0.99, 1.0])
    runs = runs.assign(asr_change=runs["woken"], share_of_two=[0.5, 1.5, 2.5], random=[0.0, 0.3, 1.0])
    runs = runs.assign(random_rise=runs["random"])
    names = ["auroc", "woken", "drift", "asr_change", "share_of_two", "random", "random_rise"]
    row = tables.measurements(runs, {name: name for name in names}, ["method"]).iloc[0]
    assert row["auroc"].endswith(", 1.00]") and "[0.00, " in row["woken"]
    assert row["drift"].endswith(", 1.10]") and "[-0.1" in row["asr_change"]
    assert row["share_of_two"] == "1.50 [-0.98, 3.98]"
    correlated = runs.assign(transfer_correlation=runs["drift"])
    assert tables.measurements(correlated, {"transfer_correlation": "r"}, ["method"])["r"].item() == "0.96 [0.83, 1.00]"
    amounts = ("seconds", "forward_passes", "victim_loss", "norm_ratio", "clean_entropy", "loss_change")
    sized = runs.assign(**{name: 100 * runs["random"] for name in amounts})
    found = tables.measurements(sized, {name: name for name in amounts}, ["method"]).iloc[0].to_dict()
    assert found.pop("loss_change").startswith("43.33 [-84") and {*found.values()} == {"43.33 [0.00, 170.81]"}
    assert row["random"] == "0.43 [0.00, 1.00]" and row["random_rise"] == "0.43 [-0.84, 1.71]"


def test_a_number_of_things_and_a_group_are_named():
    assert [tables.counted(number, "seed") for number in (0, 1, 2)] == ["0 seeds", "1 seed", "2 seeds"]
    assert group_name("isolation_epochs", 20) == "isolation epochs 20"
    assert group_name("attack", "low_frequency") == "low-frequency" == attack_name("low_frequency")
    assert group_name("attack", "badnets") == "BadNets" and group_name("repaired_by", "ft_sam") == "FT-SAM"
    assert group_name("poison_rate", 0.002) == group_name("poison_rate", "0.002") == "0.2 % poisoned"
    assert attack_name("my_attack") == "my-attack" and attack_title("label_consistent") == "Label-consistent"
    assert {*ATTACKS} == {*names.ATTACKS}


def test_the_price_on_models_that_were_never_poisoned(three):
    table = tables.price(three)
    assert table.loc["NAD"].tolist() == ["91.0 [88.5, 93.5]", "85.0 [82.5, 87.5]", "6.0 [1.7, 10.3]", 3]
    assert len(table) == 3 and tables.price(three.iloc[:0]).empty


@pytest.mark.parametrize("robust", [False, True])
def test_reported_beside_every_scale_that_was_run_and_this_run(robust, three):
    here = {"victim": Scores(0.9, 1.0, 0.0, 0.9), "NAD": Scores(0.85, 0.05, 0.8, 0.85)}
    nothing = {"paper": pd.DataFrame(), "quick": pd.DataFrame()}
    table = tables.against_reported(here, nothing, reported("nad"), attack="badnets", robust=robust)
    assert table.loc["NAD", ("this run", "ASR (%)")] == "5.0" and table.columns[-1][0] == "this run"
    assert table.loc["NAD", ("reported: NAD released code, README table", "ASR (%)")] == "3.6"
    assert not [name for name in table.columns.get_level_values(0) if name.endswith("scale")]
    full = tables.against_reported(here, nothing | {"paper": three}, reported("nad"), attack="badnets", robust=robust)
    assert full["paper scale", "ASR (%)"].tolist() == ["99.0", "2.3"] and "quick scale" not in full
    assert (("this run", "RA (%)") in full) == (("paper scale", "RA (%)") in full) == robust
    unknown = tables.against_reported(here, nothing, reported("nad"), attack="none", robust=robust)
    assert not [name for name in unknown.columns.get_level_values(0) if name.startswith("reported")]


def test_plain_rows_are_rounded_on_demand():
    assert tables.plain({"a": {"x": 0.123}}).loc["a", "x"] == 0.123
    assert tables.plain({"a": {"x": 0.123}}, digits=1).loc["a", "x"] == "0.1"
