"""Masks and pruning of filters."""

from copy import deepcopy

import pytest
import torch

from bdlib.models import resnet18, seeded, tap
from bdlib.training.filter_masks import Masked, batch_norms, prune
from bdlib.training.loop import Schedule, train

STATISTICS = ((0.5,) * 3, (0.25,) * 3)


def images(data, count=16):
    return data.images[:count].float() / 255


@pytest.fixture
def model(backdoored):
    return deepcopy(backdoored)


def test_masks_of_one_change_nothing_and_of_zero_leave_the_bias(model, clean):
    masked = Masked(model).eval()
    assert torch.equal(masked(images(clean)), model(images(clean)))
    number = masked.names.index("layer2.0.bn1")
    masked.masks[number].data[3] = 0
    with torch.no_grad(), tap(model, "layer2.0.bn1") as seen:
        masked(images(clean))
    constant = model.get_submodule("layer2.0.bn1").bias[3]
    assert torch.allclose(seen["layer2.0.bn1"][:, 3], constant.expand(16, *seen["layer2.0.bn1"].shape[2:]))


def test_only_the_masks_are_trained_and_they_are_clipped(model, clean):
    masked = Masked(model)
    before = [p.clone() for p in model.parameters()]
    train(masked, clean, Schedule(1, 5.0, batch_size=32, weight_decay=0, augmentation=None),
          optimizer=torch.optim.SGD(masked.masks.parameters(), 5.0))  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    masked.clip()
    values = torch.cat(list(masked.values().values()))
    assert values.min() >= 0 and values.max() <= 1 and (values < 1).any()


def test_there_is_a_mask_for_every_channel_of_every_batch_norm():
    model = seeded(lambda: resnet18(3, 10, *STATISTICS), seed=0)
    assert sum(map(len, Masked(model).masks)) == 4800  # 64 + 4 x 64 + 5 x 128 + 5 x 256 + 5 x 512


def test_pruning_touches_the_chosen_weights_alone(model):
    masks = {"layer1.0.bn1": torch.ones(32).index_fill(0, torch.tensor(5), 0.5)}
    copy = prune(model, masks, 0.5)
    for (name, old), new in zip(model.state_dict().items(), copy.state_dict().values(), strict=True):
        changed = (old != new).nonzero().flatten().tolist()
        assert changed == ([5] if name == "layer1.0.bn1.weight" else [])
    assert len(batch_norms(copy)) == len(batch_norms(model)) and not copy.training
    with pytest.raises(KeyError):
        prune(model, {"head": torch.ones(10)}, 0.5)


def test_a_network_without_batch_norm_has_nothing_to_mask():
    with pytest.raises(ValueError, match=r"^model: filters are masked in BatchNorm2d layers with weights"):
        Masked(torch.nn.Linear(3, 4))
