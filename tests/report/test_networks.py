"""The table of which defence fits which network says what happens when the defence is called."""

import inspect

import pytest
from test_promises import CLASSES, FAST
from torch import nn
from toy_task import STATISTICS, toy

from bdlib.checks import ParameterError
from bdlib.defenses import DEFENSES
from bdlib.defenses.vdc.answerers.oracle import OracleAnswerer
from bdlib.models import MODELS, seeded
from bdlib.report.networks import FITS, NETWORKS, applicability, fit

REFUSED = {"ANP", "CLP", "RNP", "NAD", "NPD"}  # the transformer: no BatchNorm for three of them, no maps for two


def test_every_defence_has_a_row_and_only_the_transformer_is_refused():
    table = applicability().set_index("defence")
    assert len(table) == len(DEFENSES) and set(table.columns) == set(NETWORKS.values())
    refused = {name for name, row in table.iterrows() if row[NETWORKS["small_vit"]] != FITS}
    assert refused == REFUSED and (table.drop(columns=NETWORKS["small_vit"]) == FITS).all().all()
    lines = table.loc[sorted(refused), NETWORKS["small_vit"]]
    assert all("BatchNorm2d" in line or "must" in line for line in lines) and not lines.str.contains("\n").any()


@pytest.mark.parametrize("model", ["small_vgg_bn", "small_vit"])
@pytest.mark.parametrize("key", DEFENSES)
def test_what_the_table_says_is_what_happens(key, model):
    network = seeded(lambda: MODELS[model](3, 4, *STATISTICS), seed=0).eval()
    data = toy(32, 0)
    there = {"model": network, "clean": data, "make_model": lambda: network.train(), "poisoned": data,
             "class_names": CLASSES, "answerer": OracleAnswerer(data, CLASSES, error=0.0, seed=0)}  # fmt: skip
    own = {"nad": {"beta": (1.0,) * 3}, "ar": {"layers": ("head",)}, "abl": {"isolation_rate": 0.1},
           "staged": {"isolation_rate": 0.1}}  # fmt: skip
    short = {name: 1 for name in FAST[key] if name.endswith("epochs") or name in ("inner_steps", "unlearning_rounds")}
    settings = FAST[key] | short | own.get(key, {})
    given = [there[name] for name in inspect.signature(DEFENSES[key]).parameters if name in there]
    if fit(key, model, "fashion", 0.05) == FITS:
        assert isinstance(DEFENSES[key](*given, **settings), nn.Module)
    else:
        with pytest.raises(ParameterError, match=r"\A[^\n]*\Z"):
            DEFENSES[key](*given, **settings)
