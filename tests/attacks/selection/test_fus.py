"""FUS: forgetting events, what is kept and refilled, and a fresh network for every iteration."""

import torch
import torch.nn.functional as F

from bdlib.attacks.selection.fus import correctness, forgetting_events, fus, most_forgotten, refilled
from bdlib.data.images import batches
from bdlib.training.loop import Schedule

ATTACK = {"target_label": 0, "poison_rate": 0.06}


def test_forgetting_is_right_then_wrong():
    right = torch.tensor([[1, 0, 1, 0], [0, 0, 1, 1], [1, 0, 1, 0], [0, 0, 1, 1]]).bool()
    assert forgetting_events(right).tolist() == [2, 0, 0, 1]
    assert forgetting_events(right[:1]).tolist() == [0, 0, 0, 0]


def test_the_half_that_was_forgotten_most_is_kept_and_the_rest_is_new():
    ids, events = torch.arange(10, 19), torch.tensor([0, 3, 1, 0, 2, 0, 5, 1, 4])
    kept = most_forgotten(ids, events, keep_ratio=0.5, seed=0)
    assert sorted(kept.tolist()) == [11, 14, 16, 18]
    full = refilled(kept, torch.arange(30), count=9, seed=0)
    assert len(set(full.tolist())) == 9 and set(kept.tolist()) <= set(full.tolist())
    assert torch.equal(full, full.sort().values)
    assert not torch.equal(full, refilled(kept, torch.arange(30), count=9, seed=1))


def test_correctness_is_that_of_the_training_pass(clean, make_model):
    """Written out by hand: what the network answers, in training mode, to each batch before it steps on it."""
    schedule = Schedule(
        2, 0.05, anneal="constant", batch_size=50, augmentation=2, weight_decay=0.0, momentum=0.0, seed=4
    )
    right, network = correctness(make_model(), clean, schedule), make_model().train()
    generator, known = torch.Generator().manual_seed(4), torch.zeros(2, len(clean), dtype=torch.bool)
    for epoch in range(2):
        for batch in batches(clean, 50, augmentation=2, generator=generator):
            logits = network(batch.images)
            known[epoch, batch.ids] = logits.argmax(1) == batch.labels
            network.zero_grad()
            F.cross_entropy(logits, batch.labels).backward()
            with torch.no_grad():
                for weight in network.parameters():
                    weight -= 0.05 * weight.grad
    assert 0.1 < known.double().mean() < 1 and (right == known).double().mean() > 0.99


def test_every_iteration_starts_from_a_fresh_network(clean, trigger, make_model):
    shown, built = {}, []
    fus(clean, trigger, make_model=lambda: built.append(make_model()) or built[-1], iterations=2, iteration_epochs=2,
        learning_rate=0.05, on_event=shown.__setitem__, seed=1, **ATTACK)  # fmt: skip
    assert (
        len({id(network) for network in built}) == len(built)
        and shown["rounds"].shape == (3, 12)
        and shown["events"].shape == (2, 12)
    )
    for old, events, new in zip(shown["rounds"][:-1], shown["events"], shown["rounds"][1:], strict=True):
        stay = torch.isin(old, new)
        assert stay.sum() == 6 and events[stay].min() >= events[~stay].max()
