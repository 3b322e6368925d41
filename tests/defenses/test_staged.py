"""A combination of stages is its parts, one after the other, to the last bit; a stage left out changes nothing."""

import pytest
import torch
from test_promises import FAST

from bdlib.checks import ParameterError
from bdlib.defenses.abl import abl
from bdlib.defenses.detectors.spectral_signatures import spectral_signatures
from bdlib.defenses.ft_sam import ft_sam
from bdlib.defenses.staged import staged
from bdlib.mechanisms.survey import survey
from bdlib.training.loop import Schedule, train
from bdlib.types import EventLog

SCHEDULE = Schedule(3, 0.05, anneal="one_cycle", batch_size=64, augmentation=None)
ABL = dict(gamma=0.2, isolation_epochs=1, epochs=2, milestone=1, learning_rate=0.05, batch_size=64, unlearning_epochs=1,
           augmentation=None)  # fmt: skip
REPAIR = dict(rho=0.5, epochs=2, learning_rate=0.05, batch_size=32, augmentation=None)


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def made(given, filtering="none", training="plain", repair="none", **more):
    stages = {"filtering": filtering, "training": training, "repair": repair}
    return staged(*given, **FAST["staged"] | stages | more)


@pytest.fixture
def given(backdoored, make_model, poisoned, clean):
    return backdoored, make_model, poisoned.data, clean


def test_without_any_stage_it_is_the_victim(given, backdoored):
    left = made(given)
    assert equal(left, backdoored) and left is not backdoored


def test_one_stage_alone_is_its_method(given, backdoored, make_model, poisoned, clean):
    assert equal(made(given, repair="ft_sam"), ft_sam(backdoored, clean, **REPAIR))
    assert equal(made(given, training="abl"), abl(make_model, poisoned.data, **ABL))
    kept = poisoned.data[~spectral_signatures(backdoored, poisoned.data).flagged]
    assert equal(made(given, "spectral_signatures"), train(make_model(), kept, SCHEDULE))


def test_a_pair_is_one_after_the_other(given, backdoored, make_model, poisoned, clean):
    kept, events = poisoned.data[~spectral_signatures(backdoored, poisoned.data).flagged], EventLog()
    trained = abl(make_model, kept, **ABL)
    assert equal(made(given, "spectral_signatures", "abl", on_event=events), trained)
    assert equal(made(given, "spectral_signatures", "abl", "ft_sam"), ft_sam(trained, clean, **REPAIR))
    assert int((~events["flagged"]).sum()) == len(kept)
    measured = survey(clean, poisoned, events)
    left = poisoned.is_poisoned[~events["flagged"]].double().mean().item()
    assert measured["rate_kept"] == pytest.approx(left)
    assert measured["kept"] == pytest.approx(len(kept) / len(poisoned.data))


def test_nothing_is_measured_where_nothing_was_filtered(poisoned, clean):
    assert survey(clean, poisoned, EventLog()) == {}


def test_only_abl_needs_images_to_isolate(given):
    made(given, isolation_rate=1e-9)
    with pytest.raises(ParameterError, match=r"\Aisolation_rate=1e-09: isolates 0 of 1000 images"):
        made(given, training="abl", isolation_rate=1e-9)
