"""The correctness checks of PDB: the trigger, the label map, what an epoch sees, and what the wrapper cannot fake."""

from math import pi

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import TypeCheckError
from test_promises import FAST as FAST_SETTINGS
from torch import Generator, nn
from torch.optim import SGD

from bdlib.attacks.none import NoTrigger
from bdlib.checks import ParameterError
from bdlib.data.fit import probe
from bdlib.data.images import ImageSet, augment, batches, shift_and_mirror
from bdlib.defenses.pdb.defensive_backdoor import DefensiveModel, DefensiveTrigger, shifted_labels
from bdlib.defenses.pdb.method import defensive_loss, defensive_set, pdb
from bdlib.defenses.pdb.released_augmentation import dim_and_rotate, rotate
from bdlib.evaluation.apply_trigger import AllToAll, AllToOne, attacked_set
from bdlib.evaluation.metrics import evaluate
from bdlib.experiments.notebooks import PROFILES, studies, study
from bdlib.experiments.parameters import overridden
from bdlib.mechanisms.pdb import competition, renamed_label, uncovered_set, wrong_triggers
from bdlib.mechanisms.pdb import pdb as mechanism
from bdlib.models import predict, seeded, share, small_resnet
from bdlib.training.loop import Schedule, train
from bdlib.types import EventLog

FRAME, CORNER = DefensiveTrigger("frame", 1, 2.0), DefensiveTrigger("corner", 7, 2.0)
FAST = FAST_SETTINGS["pdb"]
ON = dict(target_label=0)


@pytest.fixture(scope="module")
def events():
    return EventLog()


@pytest.fixture(scope="module")
def defended(make_model, poisoned, clean, events):
    return pdb(make_model, poisoned.data, clean, **FAST, on_event=events)


# The defensive trigger


@pytest.mark.parametrize(
    ("own", "count"),
    [(FRAME, 60), (CORNER, 49), (DefensiveTrigger("frame", 3, 5.0), 156), (DefensiveTrigger("none", 0, 9.0), 0)],
)
def test_the_defensive_trigger_sets_its_pixels_and_no_others(own, count):
    images = torch.rand(5, 3, 16, 16)
    before, stamped = images.clone(), own(images)
    mask = torch.zeros(16, 16, dtype=torch.bool)
    for row in range(16):
        for column in range(16):
            edge = min(row, column, 15 - row, 15 - column)
            mask[row, column] = edge < own.size if own.shape == "frame" else max(row, column) < own.size
    assert mask.sum() == count and torch.equal(own.mask(16, 16), mask)
    assert (stamped[..., mask] == own.value).all() and torch.equal(stamped[..., ~mask], images[..., ~mask])
    assert torch.equal(images, before) and torch.equal(own(stamped), stamped)
    assert count == 0 or stamped.amax() == own.value > 1


def test_a_defensive_trigger_that_leaves_nothing_is_refused():
    for own in (DefensiveTrigger("frame", 8, 2.0), DefensiveTrigger("corner", 16, 2.0)):
        with pytest.raises(ValueError, match="defensive_trigger_size"):
            own.mask(16, 16)
    with pytest.raises((ValueError, TypeCheckError), match="circle"):  # whichever looks first
        DefensiveTrigger("circle", 1, 2.0).mask(16, 16)
    for own, size in (("frame", 14), ("corner", 28)):
        with pytest.raises(ParameterError, match=f"defensive_trigger_size={size}: nothing is left of 28 x 28 pixels"):
            overridden("pdb", {"defensive_trigger": own, "defensive_trigger_size": size})
        overridden("pdb", {"defensive_trigger": own, "defensive_trigger_size": size - 1})


# The label map


def test_the_inverse_undoes_the_map_and_the_wrapper_reads_the_right_column():
    logits = torch.rand(6, 10)
    network = nn.Flatten()  # ten pixels are the ten logits
    images = logits.view(6, 1, 2, 5)
    for shift in range(-3, 12):
        relabel = shifted_labels(10, shift)
        assert relabel.tolist() == [(y + shift) % 10 for y in range(10)]
        answers = DefensiveModel(network, DefensiveTrigger("none", 0, 0.0), relabel)(images)
        for row, answer in zip(logits, answers, strict=True):
            assert answer.tolist() == [row[(i + shift) % 10].item() for i in range(10)]
            assert (answer.argmax() + shift) % 10 == row.argmax()  # answer = h^-1(what the network says)
    for shift in (0, 10):
        assert torch.equal(
            DefensiveModel(network, DefensiveTrigger("none", 0, 0.0), shifted_labels(10, shift))(images), logits
        )


def test_any_bijection_will_do_and_nothing_else():
    images = torch.rand(4, 1, 2, 2)
    mixed = torch.tensor([2, 0, 3, 1])
    answers = DefensiveModel(nn.Flatten(), DefensiveTrigger("none", 0, 0.0), mixed)(images)
    assert torch.equal(mixed[answers.argmax(1)], images.flatten(1).argmax(1))
    for wrong in ([0, 0, 1, 2], [1, 2, 3, 4], [-1, 0, 1, 2]):
        with pytest.raises(ValueError, match="every class once"):
            DefensiveModel(nn.Flatten(), FRAME, torch.tensor(wrong))


# What is trained on


def test_the_defensive_set_is_balanced_and_relabelled(clean):
    sixteen = ImageSet(clean.images[:16], torch.arange(16) % 4)
    added = defensive_set(sixteen, shifted_labels(4, 1), 5)
    assert len(added) == 80 and added.labels.bincount().tolist() == [20] * 4
    for n in range(80):
        assert torch.equal(added.images[n], sixteen.images[n % 16])
        assert added.labels[n] == (sixteen.labels[n % 16] + 1) % 4
    assert len(defensive_set(sixteen, shifted_labels(4, 1), 0)) == 0


class Counting(nn.Module):
    """A linear network that keeps a note of what it was trained on."""

    def __init__(self):
        super().__init__()
        self.head, self.own, self.plain = nn.Linear(3 * 16 * 16, 4), 0, 0

    def forward(self, images):
        if self.training:
            bright = (images[:, :, 0, :] == 2).all(dim=(1, 2))
            self.own, self.plain = self.own + bright.sum().item(), self.plain + (~bright).sum().item()
        return self.head(images.flatten(1))


@pytest.mark.parametrize("frequency", [0, 1, 5])
def test_an_epoch_sees_every_poisoned_image_once_and_every_clean_one_r_times(frequency, poisoned, clean):
    networks = []

    def make():
        networks.append(seeded(Counting, seed=0))
        return networks[-1]

    settings = FAST | {"epochs": 2, "learning_rate": 1e-3, "augmentation": 2, "defensive_trigger_moves": False}
    pdb(make, poisoned.data, clean, **settings, sampling_frequency=frequency)
    assert networks[-1].own == 2 * frequency * len(clean) and networks[-1].plain == 2 * len(poisoned.data)


@pytest.mark.parametrize("defensive_trigger_moves", [True, False])
def test_an_epoch_is_the_mixture_written_out(defensive_trigger_moves, make_model, poisoned, clean):
    """One epoch by hand: images stamped one by one, cropped and mirrored by loops, plain cross-entropy."""
    few, own = poisoned.data[torch.arange(len(poisoned.data)) < 90], clean[torch.arange(len(clean)) < 20]
    settings = dict(defensive_trigger="corner", defensive_trigger_size=3, defensive_trigger_value=2.0,
                    defensive_trigger_moves=defensive_trigger_moves, sampling_frequency=2, epochs=1,
                    learning_rate=0.05, anneal="constant", batch_size=50, augmentation=2, seed=3)  # fmt: skip
    theirs = pdb(make_model, few, own, **settings)
    by_hand, order, draws = make_model().train(), Generator().manual_seed(3), Generator().manual_seed(4)
    optimizer = SGD(by_hand.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    images = torch.cat([few.images, own.images, own.images]).float() / 255
    labels = torch.cat([few.labels, (own.labels + 1) % 4, (own.labels + 1) % 4])
    for ids in torch.randperm(130, generator=order).split(50):
        rows, columns = torch.randint(5, (2, len(ids)), generator=draws)
        mirrored = torch.rand(len(ids), generator=draws) < 0.5
        batch = []
        for n, row, column, mirror in zip(ids.tolist(), rows, columns, mirrored, strict=True):
            image = images[n].clone()
            if n >= 90 and defensive_trigger_moves:
                image[:, :3, :3] = 2.0
            image = F.pad(image, (2,) * 4)[:, row : row + 16, column : column + 16]
            image = (image.flip(2) if mirror else image).clone()
            if n >= 90 and not defensive_trigger_moves:
                image[:, :3, :3] = 2.0
            batch.append(image)
        optimizer.zero_grad()
        F.cross_entropy(by_hand(torch.stack(batch)), labels[ids]).backward()
        optimizer.step()
    for ours, other in zip(by_hand.state_dict().values(), theirs.network.state_dict().values(), strict=True):
        assert torch.allclose(ours.float(), other.float(), atol=1e-5)


def test_augmentation_is_the_librarys_on_floats():
    images = torch.rand(30, 1, 12, 12)
    generator = Generator().manual_seed(0)
    shifts = torch.randint(7, (2, 30), generator=generator)
    mirrored = torch.rand(30, generator=generator) < 0.5
    expected = shift_and_mirror(images, shifts, mirrored, augmentation=3)
    assert torch.equal(augment(images, 3, Generator().manual_seed(0)), expected)
    assert augment(images, None, generator) is images


def test_the_loss_of_a_batch_without_the_defensive_trigger_is_plain_cross_entropy(make_model, poisoned):
    network, batch = make_model().eval(), next(batches(poisoned.data, 40))
    plain = F.cross_entropy(network(batch.images), batch.labels)
    for first, same in ((40, True), (39, False)):
        loss = defensive_loss(FRAME, first, defensive_trigger_moves=True, augmentation=None, seed=0)(network, batch)
        assert torch.allclose(loss, plain, atol=1e-6) == same


def test_the_control_is_plain_training_on_the_same_images(make_model, poisoned, clean):
    few = poisoned.data[torch.arange(len(poisoned.data)) < 200]
    settings = FAST | {"epochs": 1, "defensive_trigger": "none", "label_shift": 3, "sampling_frequency": 2}
    control = pdb(make_model, few, clean, **settings)
    both = ImageSet(torch.cat([few.images, *[clean.images] * 2]), torch.cat([few.labels, *[clean.labels] * 2]))
    plain = train(make_model(), both, Schedule(1, 0.05, anneal="one_cycle", batch_size=64, augmentation=None))
    for ours, other in zip(control.network.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, other)
    images = clean.images.float() / 255
    assert torch.equal(control(images), control.network(images))


# What comes out


def test_the_defensive_trigger_protects_a_network_whose_weights_are_backdoored(defended, test_set, trigger):
    with_trigger, without = (evaluate(model, test_set, trigger, **ON) for model in (defended, defended.network))
    assert with_trigger.clean_accuracy > 0.95 and with_trigger.asr < 0.1
    assert without.clean_accuracy > 0.95 and without.asr > 0.5
    assert with_trigger.asr + with_trigger.robust_accuracy <= 1 and without.asr + without.robust_accuracy <= 1
    unmarked = DefensiveModel(defended.network, DefensiveTrigger("none", 0, 0.0), defended.relabel).eval()
    assert share(predict(unmarked, test_set) == test_set.labels) < 0.1


def test_the_inverse_map_alone_is_no_defense(backdoored, test_set, trigger):
    """A network that never saw the defensive trigger: every answer is off by one, and the attacker still decides."""
    wrapped = DefensiveModel(
        backdoored, DefensiveTrigger("corner", 1, 0.5), shifted_labels(4, 1)
    ).eval()  # one gray pixel, which it hardly notices
    assert share(predict(wrapped, test_set) == test_set.labels) < 0.05
    found = competition(wrapped, attacked_set(test_set, trigger, AllToOne(0)))
    assert evaluate(wrapped, test_set, trigger, **ON).asr < 0.2 < 0.5 < found["asr_shift"]


def test_without_poison_the_defensive_trigger_costs_little(make_model, poisoned, clean, test_set):
    harmless = poisoned.data[~poisoned.is_poisoned]
    network = pdb(make_model, harmless, clean, **FAST)
    with_trigger, without = (share(predict(model, test_set) == test_set.labels) for model in (network, network.network))
    assert with_trigger >= without - 0.05


def test_the_snapshots_lead_to_the_weights_that_are_returned(defended, events):
    assert list(events) == ["snapshots"] and list(events["snapshots"]) == [1, 2, 3]
    last, first = events["snapshots"][3], events["snapshots"][1]
    assert all(torch.equal(last[name], value) for name, value in defended.network.state_dict().items())
    assert not torch.equal(last["head.weight"], first["head.weight"])


def test_the_number_of_classes_is_the_networks_not_the_images(make_model, clean):
    three = clean[clean.labels < 3]
    wide = seeded(lambda: small_resnet(3, 7, (0.5,) * 3, (0.25,) * 3), seed=0).train()
    assert probe(make_model(), three.images).shape[1] == 4 and probe(wide, three.images).shape[1] == 7 and wide.training


# What is measured


def test_the_shares_of_the_competition_are_counted_one_by_one(defended, test_set, trigger):
    found = competition(defended, attacked_set(test_set, trigger, AllToOne(0)))
    counted = {"defense_wins": 0, "asr_shift": 0, "neither_wins": 0}
    for image, label in zip(test_set.images, test_set.labels.tolist(), strict=True):
        if label in (0, 3):  # the target, and the class that the defender moves onto it
            continue
        stamped = trigger(image[None].float() / 255).mul(255).round().byte().float() / 255
        with torch.no_grad():
            said = defended.network(FRAME(stamped)).argmax().item()
            answer = defended(stamped).argmax().item()
        assert answer == (said - 1) % 4
        outcome = "defense_wins" if said == label + 1 else "asr_shift" if answer == 3 else "neither_wins"
        counted[outcome] += 1
    total = sum(counted.values())
    assert found == {name: pytest.approx(count / total) for name, count in counted.items()}
    assert found["defense_wins"] + found["asr_shift"] <= 1


def test_what_is_renamed_follows_the_model_not_the_parameters(make_model, poisoned, clean, defended):
    """With `defensive_trigger="none"` no label moves, whatever `label_shift` says."""
    few = poisoned.data[torch.arange(len(poisoned.data)) < 64]
    control = pdb(make_model, few, clean, **FAST | {"epochs": 0, "defensive_trigger": "none", "label_shift": 3})
    assert [renamed_label(control, label) for label in range(4)] == [0, 1, 2, 3]
    assert [renamed_label(defended, label) for label in range(4)] == [3, 0, 1, 2]


@pytest.mark.parametrize("profile", PROFILES)
def test_runs_of_the_sampling_study_take_as_many_steps(profile):
    """Whatever the sampling frequency; else a stronger defensive backdoor would only be a longer training."""
    points = [point for name in {"sampling"} & {*studies("pdb", profile)} for _, point in study("pdb", profile, name)]
    shares = [(point["clean_fraction"], point["sampling_frequency"], point["epochs"]) for point in points]
    uses = [epochs * (1 - reserved + often * reserved) for reserved, often, epochs in shares]
    assert not uses or max(uses) < 1.05 * min(uses)


def test_all_to_all_with_the_defenders_own_shift_leaves_nothing_to_tell_apart(defended, test_set, trigger):
    assert competition(defended, attacked_set(test_set, trigger, AllToAll(4))) == {}
    other = DefensiveModel(defended.network, FRAME, shifted_labels(4, 2)).eval()
    assert sum(competition(other, attacked_set(test_set, trigger, AllToAll(4))).values()) == pytest.approx(1)


def test_what_the_defensive_trigger_covers_of_the_other_is_given_back(test_set, trigger):
    attack = attacked_set(test_set, trigger, AllToOne(0))
    left = uncovered_set(attack, FRAME)
    changed = (left.images != attack.clean.images).any(1)
    assert changed.any(0).nonzero().tolist() == [[13, 13], [13, 14], [14, 13], [14, 14]]
    assert torch.equal(uncovered_set(attack, CORNER).images, attack.triggered.images)
    assert (attack.wanted == 0).all() and len(attack.wanted) == (test_set.labels != 0).sum()


def test_wrong_triggers_are_wrong():
    for own in (FRAME, CORNER):
        wrong = wrong_triggers(own)
        assert set(wrong) == {"no_defensive_trigger", "half_value", "other_shape"}
        images = torch.rand(2, 1, 16, 16) / 2
        assert not any(torch.equal(other(images), own(images)) for other in wrong.values())
    assert wrong_triggers(DefensiveTrigger("none", 1, 2.0)) == {}


def test_the_record_holds_what_was_measured(defended, events, test_set, trigger, backdoored):
    found = mechanism(defended, test_set, trigger, events, target_label=0)
    scores = evaluate(defended.network, test_set, trigger, **ON)
    assert (found["bare_accuracy"], found["bare_asr"]) == (scores.clean_accuracy, scores.asr)
    assert found["epoch_3_bare_asr"] == scores.asr and found["epoch_3_bare_accuracy"] == scores.clean_accuracy
    assert found["epoch_3_keyed_asr"] == evaluate(defended, test_set, trigger, **ON).asr
    assert sum(found[name] for name in ("defense_wins", "asr_shift", "neither_wins")) == pytest.approx(1)
    assert found["no_defensive_trigger_accuracy"] < 0.1 and all(0 <= value <= 1 for value in found.values())
    unpoisoned = mechanism(defended, test_set, NoTrigger(), events, target_label=0)
    assert unpoisoned.keys() == {name for name in found if name.endswith("accuracy")}
    assert mechanism(backdoored, test_set, trigger, EventLog(), target_label=0) == {}


# The released code's augmentation


def test_released_augmentation_dims_and_rotates_only_images_with_the_defensive_trigger(make_model, poisoned):
    network, batch = make_model().eval(), next(batches(poisoned.data, 40))
    how = dict(defensive_trigger_moves=True, augmentation=None, seed=0)
    losses = [
        [defensive_loss(FRAME, first, variant=which, **how)(network, batch).item() for which in ("paper", "released")]
        for first in (40, 0)
    ]
    assert losses[0][0] == losses[0][1] and losses[1][0] != losses[1][1]


def test_a_fifth_is_dimmed_and_half_is_rotated():
    images = torch.ones(4000, 1, 9, 9)
    varied = dim_and_rotate(images, Generator().manual_seed(0))
    middle, corner = varied[:, 0, 4, 4], varied[:, 0, 0, 0]
    dimmed = middle < 1
    assert dimmed.float().mean() == pytest.approx(0.2, abs=0.03) and 0.5 <= middle.min() < 0.51
    assert 0.1 < (corner == 0).float().mean() < 0.5  # only larger angles move the corner out of the picture
    assert (images == 1).all() and torch.equal(varied, dim_and_rotate(images, Generator().manual_seed(0)))


def test_a_quarter_turn_is_a_quarter_turn_and_none_is_none():
    images = torch.rand(3, 2, 8, 8)
    assert torch.equal(rotate(images, torch.zeros(3)), images)
    assert torch.equal(rotate(images, torch.full((3,), pi / 2)), images.rot90(1, (2, 3)))
    wide = torch.zeros(1, 1, 8, 16)
    wide[..., 4, 4] = 1  # 3.5 left of the middle and 0.5 below it
    assert rotate(wide, torch.tensor([pi])).nonzero().tolist() == [[0, 0, 3, 11]]
