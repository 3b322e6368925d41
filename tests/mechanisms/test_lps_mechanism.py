"""What is measured about a selection: known values, and finite ones with and without poison."""

from inspect import signature

import pytest
import torch
from scipy.stats import rankdata

from bdlib import attacks
from bdlib.attacks.poisoning import Poisoned
from bdlib.data.passes import count_passes
from bdlib.experiments import victims
from bdlib.experiments.victims import VictimConfig, load_data, load_selection, load_trigger, poisoned_set
from bdlib.mechanisms.lps import (
    auc,
    jaccard,
    largest_share,
    lps,
    sawtooth,
    selection_passes,
    spectral_auc,
    surrogate_epochs,
)

TINY = {"data_fraction": 0.02, "victim_epochs": 1, "poison_rate": 0.05, "rounds": 1, "iterations": 1,
        "iteration_epochs": 2}  # fmt: skip


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(victims, "CACHE", tmp_path)


def test_measures_have_known_values():
    assert auc(torch.tensor([3.0, 1.0, 2.0, 2.0]), torch.tensor([True, False, True, False])) == 0.875
    assert torch.tensor(auc(torch.rand(3), torch.zeros(3, dtype=torch.bool))).isnan()
    assert jaccard(torch.tensor([1, 2, 3]), torch.tensor([3, 4])) == 0.25
    assert largest_share(torch.tensor([1, 1, 5, 7])) == 0.5
    rounds, losses = torch.tensor([[0, 1], [2, 3], [1, 3]]), torch.tensor([[1.0, 2, 3, 4], [1.0, 2, 3, 5]])
    assert sawtooth(rounds, losses) == ([1.5, 4.0], [3.5, 3.5])
    assert sawtooth(rounds, losses[1:]) == ([4.0], [3.5])  # FUS: only the last network scored


def test_the_spectral_score_finds_what_lies_along_the_main_direction(clean):
    far, flags = clean.images.clone(), torch.arange(200) < 20
    far[flags] = 255
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 4)).eval()
    marked = Poisoned(type(clean)(far, torch.zeros_like(clean.labels)), flags)
    assert spectral_auc(network, marked, target_label=0) == 1.0


def test_the_cost_is_counted_in_epochs_and_in_passes():
    given = {"rounds": 5, "round_epochs": 2, "iterations": 3, "iteration_epochs": 4}
    assert {key: surrogate_epochs(key, **given) for key in attacks.SELECTIONS} == {
        "random": 0, "random_balanced": 0, "fus": 12, "lps": 10, "lps_unconstrained": 10, "lps_one_choice": 10,
        "lps_lowest": 10,
    }  # fmt: skip
    passes = {key: tuple(selection_passes(key, **given)) for key in attacks.SELECTIONS}
    assert passes["random"] == passes["random_balanced"] == (0, 0) and passes["fus"] == (12, 12)
    assert passes["lps"] == passes["lps_lowest"] == (15, 10) and passes["lps_one_choice"] == (11, 10)
    assert selection_passes("lps", **given | {"rounds": 0}) == selection_passes("fus", **given | {"iterations": 0})


def test_the_passes_are_those_that_a_surrogate_makes(clean, trigger, make_model):
    """Counted at the networks: images forward and backward."""
    given = {"rounds": 3, "round_epochs": 2, "iterations": 2, "iteration_epochs": 2}
    attack = {"target_label": 0, "poison_rate": 0.06, "seed": 2}
    for key in ("lps", "lps_one_choice", "fus"):
        taken = signature(attacks.SELECTIONS[key]).parameters
        own = {name: value for name, value in given.items() if name in taken}
        with count_passes() as seen:
            attacks.SELECTIONS[key](clean, trigger, make_model=make_model, **attack, **own)
        forward, backward = selection_passes(key, **given)
        shown = len(clean) if key == "fus" else 0  # a last look at all losses, for the chapter's figures
        assert seen.backward == backward * len(clean) and seen.forward - shown == forward * len(clean)


def test_the_auc_is_the_mean_rank_of_the_wanted_with_ties_and_without():
    generator = torch.Generator().manual_seed(0)
    for scores in (torch.randn(500, generator=generator), torch.randn(500, generator=generator).round()):
        wanted = torch.rand(500, generator=generator) < 0.1
        ranks, count = torch.from_numpy(rankdata(scores.double().numpy())), int(wanted.sum())
        by_ranks = (ranks[wanted].sum().item() - count * (count + 1) / 2) / (count * (500 - count))
        assert auc(scores, wanted) == pytest.approx(by_ranks, abs=1e-12)


@pytest.mark.parametrize("key", ["random", "lps", "fus"])
def test_what_is_measured_is_finite_and_needs_no_poison(key, cache):
    settings = {"selection": key, **{name: TINY[name] for name in ("rounds", "iterations", "iteration_epochs")}}
    settings |= {"round_epochs": 1, "target_label": 0}
    for attack in ("badnets", "none"):
        config = VictimConfig(selection=key, attack=attack, **TINY)
        train, model = load_data(config)[0], config.untrained().eval()
        truth, selected = poisoned_set(config), load_selection(config)
        measured = lps(model, train, load_trigger(config), truth, selected, **settings)
        assert all(torch.tensor(list(measured.values())).isfinite())
        assert ("jaccard_between_rounds" in measured) == (key != "random" and attack != "none")
        assert ("auc_spectral" in measured) == (attack != "none")
    assert measured["poisoned_images"] == 0
