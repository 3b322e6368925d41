import pytest
import torch
from jaxtyping import TypeCheckError
from toy_task import toy

from bdlib.checks import ParameterError
from bdlib.data.images import ImageSet, augment, batches, sample, shift_and_mirror, split


def test_as_many_labels_as_images():
    with pytest.raises((ValueError, TypeCheckError), match="3 images but 2 labels|labels"):  # whichever looks first
        ImageSet(torch.zeros(3, 1, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.long))


def test_split_is_balanced_disjoint_and_seeded(clean):
    numbered = ImageSet(clean.images, clean.labels)
    numbered.images[:, 0, 0, 0] = torch.arange(200, dtype=torch.uint8)
    first, rest = split(numbered, 0.25, seed=3)
    again, _ = split(numbered, 0.25, seed=3)
    other, _ = split(numbered, 0.25, seed=4)
    for label in range(4):
        assert (first.labels == label).sum() == round(0.25 * (clean.labels == label).sum().item())
    marks = torch.cat([first.images[:, 0, 0, 0], rest.images[:, 0, 0, 0]])
    assert sorted(marks.tolist()) == list(range(200))
    assert torch.equal(first.images, again.images) and not torch.equal(first.images, other.images)


def test_split_gives_every_class_an_image(clean):
    assert set(split(clean, 0.001, seed=0)[0].labels.tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1])
def test_split_refuses_a_fraction_out_of_range(clean, fraction):
    with pytest.raises(ValueError, match="fraction=.*above 0, at most 1"):
        split(clean, fraction, seed=0)


def test_batches_cover_an_epoch_once(clean):
    seen = torch.cat([batch.ids for batch in batches(clean, 64, generator=torch.Generator().manual_seed(0))])
    assert sorted(seen.tolist()) == list(range(200)) and seen.tolist() != list(range(200))


def test_batches_without_augmentation_are_the_images(clean):
    batch = next(iter(batches(clean, 64)))
    assert torch.equal(batch.images.mul(255).round().byte(), clean.images[:64])


def test_shift_and_mirror_against_one_image_at_a_time():
    images = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8)
    shifts, mirrored = torch.randint(5, (2, 6)), torch.tensor([True, False] * 3)
    done = shift_and_mirror(images, shifts, mirrored, augmentation=2)
    for image, (y, x), flip, got in zip(images, shifts.T.tolist(), mirrored.tolist(), done, strict=True):
        padded = torch.zeros(3, 12, 12, dtype=torch.uint8)
        padded[:, 2:10, 2:10] = image
        window = padded[:, y : y + 8, x : x + 8]
        assert torch.equal(got, window.flip(-1) if flip else window)


def test_one_batch_is_augmented_as_an_epoch_is():
    data = toy(50, 0)
    whole = next(iter(batches(data, 50, augmentation=2, generator=torch.Generator().manual_seed(3))))
    generator = torch.Generator().manual_seed(3)
    order = torch.randperm(50, generator=generator)
    assert torch.equal(augment(data.images[order], 2, generator).float() / 255, whole.images)
    assert augment(data.images, None, generator) is data.images


def test_a_sample_has_an_equal_share_of_every_class(clean):
    few = sample(clean, 40)
    assert [(few.labels == k).sum().item() for k in range(4)] == [
        round(0.2 * (clean.labels == k).sum().item()) for k in range(4)
    ]
    assert torch.equal(sample(clean, 1000).images, clean.images)


def test_augmentation_reproduces_with_its_generator():
    def epoch(seed):
        return torch.cat(
            [b.images for b in batches(toy(50, 0), 16, augmentation=2, generator=torch.Generator().manual_seed(seed))]
        )

    assert torch.equal(epoch(1), epoch(1)) and not torch.equal(epoch(1), epoch(2))


@pytest.mark.parametrize("keep", [torch.ones(3, dtype=torch.bool), torch.tensor([10**6]), slice("a", None),
                                  slice(None, None, -1), torch.zeros(4, dtype=torch.int64, device="meta")])  # fmt: skip
def test_a_subset_that_does_not_fit_is_one_line(clean, keep):
    with pytest.raises(ParameterError, match=r"\Adata\[[^\n]*(does not fit|is on meta)[^\n]*\Z"):
        clean[keep]
