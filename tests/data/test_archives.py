"""The authors' archives, made small: read in memory, in the right order, and refused in one line where damaged."""

import gzip
import io
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from bdlib.data import _archives, _cached, datasets
from bdlib.data._archives import CIFAR, members_of, read_archives
from bdlib.data._files import DataError
from bdlib.data.datasets import CONTRIBUTED, DATASETS, load_archives


def tar(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def picture(value, kind="PPM", size=(40, 30)):
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, 0, 255)).save(buffer, kind)
    return buffer.getvalue()


def cifar(name, per_file=3):
    """A small archive, with the images and the labels that are in it: training and test together."""
    train, test, label_bytes, classes = CIFAR[name]
    random, members, all_images, all_labels = np.random.default_rng(0), {"readme.html": b"x"}, [], []
    for file in [*reversed(train), test]:  # the order in the archive is not the order that counts
        labels = random.integers(classes, size=(per_file, label_bytes), dtype=np.uint8)
        images = random.integers(256, size=(per_file, 3072), dtype=np.uint8)
        members[file] = np.concatenate([labels, images], 1).tobytes()
    for file in [*train, test]:
        records = np.frombuffer(members[file], np.uint8).reshape(per_file, -1)
        all_images.append(records[:, label_bytes:].reshape(-1, 3, 32, 32))
        all_labels.append(records[:, label_bytes - 1])
    return members, np.concatenate(all_images), np.concatenate(all_labels)


@pytest.mark.parametrize("name", CIFAR)
def test_cifar_is_read_from_its_binary_archive(name):
    members, images, labels = cifar(name)
    train, test = read_archives(name, [tar(members)], 32)
    assert np.array_equal(torch.cat([train.images, test.images]).numpy(), images) and len(test) == 3
    assert torch.cat([train.labels, test.labels]).tolist() == labels.tolist() and train.labels.dtype == torch.int64


def test_gtsrb_is_the_whole_final_set():
    train = zipped({"GTSRB/Final_Training/Images/00042/00000_00001.ppm": picture(2),
                    "GTSRB/Final_Training/Images/00000/00000_00000.ppm": picture(1),
                    "GTSRB/Final_Training/Images/00000/GT-00000.csv": b"Filename;ClassId"})  # fmt: skip
    images = zipped({f"GTSRB/Final_Test/Images/0000{i}.ppm": picture(i) for i in range(3)})
    table = "Filename;Width;ClassId\n" + "".join(f"0000{i}.ppm;9;{7 - i}\n" for i in range(3))
    first, second = read_archives("gtsrb", [train, images, zipped({"GT-final_test.csv": table.encode()})], 32)
    assert first.labels.tolist() == [0, 42] and first.images[:, 0, 0, 0].tolist() == [1, 2]
    assert second.labels.tolist() == [7, 6, 5] and second.images[:, 0, 5, 5].tolist() == [0, 1, 2]
    assert first.images.shape == (2, 3, 32, 32)


def test_tiny_imagenet_is_read_without_unpacking():
    content = zipped({
        "tiny-imagenet-200/train/n02/images/n02_0.JPEG": picture(1, "PNG", (64, 64)),
        "tiny-imagenet-200/train/n01/images/n01_0.JPEG": picture(0, "PNG", (64, 64)),
        "tiny-imagenet-200/val/images/val_0.JPEG": picture(7, "PNG", (64, 64)),
        "tiny-imagenet-200/val/val_annotations.txt": b"val_0.JPEG\tn02\t0\t0\t1\t1\n",
    })  # fmt: skip
    train, test = read_archives("tiny_imagenet", [content], 64)
    assert train.labels.tolist() == [0, 1] and train.images[:, 0, 0, 0].tolist() == [0, 1]
    assert test.labels.tolist() == [1] and test.images[0, 0, 0, 0] == 7


def damages():
    members, _, _ = cifar("cifar10")
    first, whole = next(iter(CIFAR["cifar10"][0])), tar(cifar("cifar10")[0])
    yield "truncated or damaged", whole[: len(whole) // 2]
    yield "truncated or damaged", b"<html>no such page</html>"
    yield "truncated or damaged", b""
    yield "truncated or damaged", gzip.compress(b"no tar")
    yield f"{first} has 9000 bytes", tar(members | {first: members[first][:9000]})
    yield f"{first} has 0 bytes", tar(members | {first: b""})
    yield f"{first} has the label 10, not 0 to 9", tar(members | {first: b"\x0a" + members[first][1:]})
    yield "test_batch.bin", tar({name: content for name, content in members.items() if "test" not in name})
    yield "'../../etc/passwd' leads out", tar(members | {"../../etc/passwd": b""})
    yield "'/etc/passwd' leads out", tar(members | {"/etc/passwd": b""})


@pytest.mark.parametrize(("said", "content"), list(damages()), ids=range(10))
def test_a_damaged_archive_is_one_line_that_names_it(said, content):
    with pytest.raises(DataError, match="cifar-10-binary.tar.gz") as caught:
        read_archives("cifar10", [content], 32)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_flipped_bytes_of_an_archive_are_never_a_traceback():
    content, chance = tar(cifar("cifar10")[0]), np.random.default_rng(0)
    for place in chance.integers(len(content), size=100):
        altered = bytearray(content)
        altered[place] ^= 1 << chance.integers(8)
        try:
            read_archives("cifar10", [bytes(altered)], 32)
        except DataError as error:
            assert "cifar-10-binary.tar.gz" in str(error) and "\n" not in str(error)


def test_a_flipped_byte_of_a_zip_archive_is_one_line():
    entries = {"tiny-imagenet-200/train/n01/images/a.JPEG": picture(1, "PNG", (64, 64)),
               "tiny-imagenet-200/val/images/val_0.JPEG": picture(2, "PNG", (64, 64)),
               "tiny-imagenet-200/val/val_annotations.txt": b"val_0.JPEG\tn01\n"}  # fmt: skip
    content, chance = zipped(entries), np.random.default_rng(0)
    for place in chance.integers(len(content), size=100):
        altered = bytearray(content)
        altered[place] ^= 1 << chance.integers(8)
        try:
            read_archives("tiny_imagenet", [bytes(altered)], 64)
        except DataError as error:
            assert "tiny-imagenet-200" in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("path", ["../a", "a/../../b", "/a", "\\a", "a\\..\\..\\b"])
def test_a_path_that_leads_out_is_refused(path):
    with pytest.raises(DataError, match="leads out"):
        members_of(zipped({"fine/a.bin": b"", path: b""}), "toy.zip")


def test_what_was_decoded_is_kept_and_its_archive_is_still_verified(tmp_path, monkeypatch):
    members, _, _ = cifar("cifar10")
    asked = []
    monkeypatch.setattr(_cached, "CACHE", tmp_path)
    monkeypatch.setattr(datasets, "fetch", lambda archive, folder: asked.append(archive.name) or tar(members))
    first, _ = load_archives("cifar10")
    monkeypatch.setattr(_archives, "_cifar", None)  # from here on nothing can be decoded
    again, test = load_archives("cifar10")
    assert torch.equal(first.images, again.images) and len(test) == 3 and asked == ["cifar-10-binary.tar.gz"] * 2


def test_every_data_set_has_its_archives_by_secure_or_published_sums():
    assert _archives.ARCHIVES.keys() == DATASETS.keys() - {"fashion", *CONTRIBUTED}
    for archives in _archives.ARCHIVES.values():
        assert all(len(archive.md5) == 32 and len(archive.sha256) in (0, 64) for archive in archives)
