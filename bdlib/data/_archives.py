"""The data sets' own archives, read in memory: nothing is extracted to disk, and nothing is unpickled.

CIFAR-10 and CIFAR-100 are read from their binary archives, fixed-size records of bytes. SHA-256 sums are those that
several public collections of data list; for GTSRB there is the MD5 of its publishers alone.
"""

import csv
import io
import tarfile
import zipfile
from pathlib import PurePosixPath

import numpy as np
import torch

from bdlib.data._download import Archive
from bdlib.data._files import DataError, in_one_line, opened, resize, stack
from bdlib.data.images import ImageSet

TORONTO = "https://www.cs.toronto.edu/~kriz/"
BOCHUM = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/"
ARCHIVES = {
    "cifar10": (Archive(f"{TORONTO}cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530",
                        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),),
    "cifar100": (Archive(f"{TORONTO}cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8",
                         "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"),),
    "gtsrb": (Archive(f"{BOCHUM}GTSRB_Final_Training_Images.zip", "f33fd80ac59bff73c82d25ab499e03a3"),
              Archive(f"{BOCHUM}GTSRB_Final_Test_Images.zip", "c7e4e6327067d32654124b0fe9e82185"),
              Archive(f"{BOCHUM}GTSRB_Final_Test_GT.zip", "fe31e9c9270bbcd7b84b7f21a9d9d9e5")),
    "tiny_imagenet": (Archive("http://cs231n.stanford.edu/tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de",
                              "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821"),),
}  # fmt: skip
CIFAR = {  # training files, test file, bytes of labels before the pixels (the last one counts), classes
    "cifar10": ([f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)],
                "cifar-10-batches-bin/test_batch.bin", 1, 10),
    "cifar100": (["cifar-100-binary/train.bin"], "cifar-100-binary/test.bin", 2, 100),
}  # fmt: skip
Parts = tuple[ImageSet, ImageSet]


def read_archives(name: str, contents: list[bytes], size: int) -> Parts:
    """Training and test images of a data set, `size` pixels wide, from its archives.

    Raises DataError, in one line that names the archive, for anything in one that is not as it should be.
    """
    names = [archive.name for archive in ARCHIVES[name]]
    unpacked = [members_of(content, file) for content, file in zip(contents, names, strict=True)]
    try:
        if name in CIFAR:
            return _cifar(name, unpacked[0])
        return (_gtsrb if name == "gtsrb" else _tiny_imagenet)(*unpacked, size=size)
    except (LookupError, ValueError, TypeError) as error:
        lacks = "it lacks " if isinstance(error, KeyError) else ""
        raise DataError(f"{' or '.join(names)} is not as its authors made it: {lacks}{error}") from error


def members_of(content: bytes, archive: str) -> dict[str, bytes]:
    """The files in a zip or a compressed tar archive, by their paths; links are left out.

    Raises DataError for an archive that is damaged, and for a path that leads out of it.
    """
    try:
        members = _members_of_zip(content) if archive.endswith(".zip") else _members_of_tar(content)
    except Exception as error:  # what these readers raise for damaged bytes is not listed anywhere
        raise DataError(f"{archive} is truncated or damaged ({in_one_line(error)})") from error
    for path in members:
        if path.startswith(("/", "\\")) or ".." in PurePosixPath(path.replace("\\", "/")).parts:
            raise DataError(f"{archive}: its member {path!r} leads out of the archive")
    return members


def _members_of_tar(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
        files = [(member.name, tar.extractfile(member)) for member in tar.getmembers() if member.isreg()]
        return {name: file.read() for name, file in files if file}


def _members_of_zip(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {name: file.read(name) for name in file.namelist() if not name.endswith("/")}


def _cifar(name: str, members: dict[str, bytes]) -> Parts:
    train, test, label_bytes, classes = CIFAR[name]
    parts = []
    for files in (train, [test]):
        records = np.concatenate([_records(members[file], file, label_bytes, classes) for file in files])
        images = records[:, label_bytes:].reshape(-1, 3, 32, 32)
        labels = records[:, label_bytes - 1].astype(np.int64)
        parts.append(ImageSet(torch.from_numpy(images.copy()), torch.from_numpy(labels)))
    return parts[0], parts[1]


def _records(raw: bytes, file: str, label_bytes: int, classes: int) -> np.ndarray:
    """A CIFAR file as one row of bytes an image."""
    width = label_bytes + 3 * 32 * 32
    if not raw or len(raw) % width:
        raise ValueError(f"{file} has {len(raw)} bytes, not a multiple of {width}")
    records = np.frombuffer(raw, np.uint8).reshape(-1, width)
    if (most := records[:, label_bytes - 1].max()) >= classes:
        raise ValueError(f"{file} has the label {most}, not 0 to {classes - 1}")
    return records


def _gtsrb(train: dict[str, bytes], images: dict[str, bytes], truth: dict[str, bytes], *, size: int) -> Parts:
    """Whole images with their borders, in the order of their paths; test labels are in a table of their own."""
    first = {path: int(PurePosixPath(path).parent.name) for path in sorted(train) if path.endswith(".ppm")}
    rows = list(csv.DictReader(truth["GT-final_test.csv"].decode().splitlines(), delimiter=";"))
    second = {f"GTSRB/Final_Test/Images/{row['Filename']}": int(row["ClassId"]) for row in rows}
    return _decoded(train, first, size), _decoded(images, second, size)


def _tiny_imagenet(members: dict[str, bytes], *, size: int) -> Parts:
    """The training images by class, and the validation images in the order of their table."""
    paths = [path for path in sorted(members) if path.startswith("tiny-imagenet-200/train/") and path.endswith(".JPEG")]
    names = sorted({path.split("/")[2] for path in paths})
    classes = {name: label for label, name in enumerate(names)}
    table = members["tiny-imagenet-200/val/val_annotations.txt"].decode().splitlines()
    rows = [line.split("\t") for line in table if line]
    second = {f"tiny-imagenet-200/val/images/{row[0]}": classes[row[1]] for row in rows}
    return _decoded(members, {path: classes[path.split("/")[2]] for path in paths}, size), _decoded(
        members, second, size
    )


def _decoded(members: dict[str, bytes], labels: dict[str, int], size: int) -> ImageSet:
    """The images of the paths in `labels`, in that order."""
    if not labels:
        raise ValueError("it holds no images")
    images = [resize(opened(members[path], path), size) for path in labels]
    return ImageSet(stack(images), torch.tensor(list(labels.values())))
