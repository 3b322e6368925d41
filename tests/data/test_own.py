"""Own data: what can be read in one way is taken, anything else is one line."""

import io
import json
import os
import re

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from jaxtyping import TypeCheckError
from PIL import Image

from bdlib.checks import ParameterError
from bdlib.data._files import DataError
from bdlib.data.datasets import CLASS_NAMES, DATASETS, OWN, load_dataset
from bdlib.data.images import ImageSet, split
from bdlib.data.own import NamedImages, image_set, load_folder, load_parquet, register_dataset


@pytest.fixture(autouse=True)
def registries():
    """Those of the process, put back afterwards."""
    before = [(registry, dict(registry)) for registry in (DATASETS, CLASS_NAMES, OWN)]
    yield
    for registry, kept in before:
        registry.clear()
        registry.update(kept)


def encoded(mode="RGB", size=(9, 7), kind="PNG", color=None, **options):
    buffer = io.BytesIO()
    Image.new(mode, size, color if color is not None else 0).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Two classes of two pictures, reds of 10, 20, 30 and 40."""
    for name, reds in {"daisy": (10, 20), "rosé": (30, 40)}.items():
        (tmp_path / "f" / name).mkdir(parents=True)
        for red in reds:
            (tmp_path / "f" / name / f"{red}.png").write_bytes(encoded(color=(red, 0, 255)))
    return tmp_path / "f"


def test_a_folder_is_read_by_the_names_of_its_classes(folder):
    (folder / ".DS_Store").write_text("")
    (folder / "daisy" / ".hidden").write_text("")
    (folder / "daisy" / "Thumbs.db").write_text("")
    (folder / "labels.csv").write_text("")
    data = load_folder(folder, size=16)
    assert data.class_names == ("daisy", "rosé") and data.labels.tolist() == [0, 0, 1, 1]
    assert data.images.shape == (4, 3, 16, 16) and data.images[:, 0, 8, 8].tolist() == [10, 20, 30, 40]
    assert load_folder(str(folder), size=8, channels=1).images.shape == (4, 1, 8, 8)


def test_other_class_names_mean_another_order_and_may_name_more(folder):
    data = load_folder(folder, size=8, class_names=["rosé", "tulip", "daisy"])
    assert data.labels.tolist() == [2, 2, 0, 0] and data.class_names == ("rosé", "tulip", "daisy")
    with pytest.raises(DataError, match="daisy: is no class in class_names"):
        load_folder(folder, size=8, class_names=["rosé", "tulip"])


def test_numbers_as_names_that_are_not_the_labels_are_told(tmp_path):
    for name in ("2", "10", "0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(encoded())
    with pytest.warns(UserWarning, match="the folder 10 is label 1"):
        assert load_folder(tmp_path, size=8).class_names == ("0", "10", "2")


KINDS = {
    "gray": encoded("L", color=100), "palette": encoded("P"), "bits": encoded("1", color=1),
    "opaque": encoded("RGBA", color=(1, 2, 3, 255)), "cmyk": encoded("CMYK", kind="JPEG"), "webp": encoded(kind="WEBP"),
    "bmp": encoded(kind="BMP"), "tiff": encoded(kind="TIFF"), "jpeg": encoded("L", kind="JPEG"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_usual_kinds_of_pictures_are_taken(folder, kind):
    (folder / "daisy" / f"a.{kind}").write_bytes(KINDS[kind])
    assert len(load_folder(folder, size=8)) == 5


def test_a_photo_is_turned_as_its_camera_says(folder):
    picture, exif = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 3), Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    picture.save(folder / "daisy" / "0.png", exif=exif)
    got = load_folder(folder, size=8, channels=1).images[0, 0].numpy()
    assert np.array_equal(got, np.rot90(np.asarray(picture), -1))


REFUSED = {
    "not an image": b"",
    "not an image that can be read": b"hello",
    "not an image that can": encoded(size=(90, 90))[:-40],
    "mode I;16; save": encoded("I;16"),
    "mode F; save": encoded("F", kind="TIFF"),
    "image that can be": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 7\n",
    "transparent pixels": encoded("RGBA", color=(1, 2, 3, 254)),
    "transparent": encoded("P", transparency=0),
    "3 frames; keep one": encoded(kind="GIF", save_all=True, append_images=[
        Image.new("RGB", (9, 7), "red"), Image.new("RGB", (9, 7), "blue")]),
}  # fmt: skip


@pytest.mark.parametrize("said", REFUSED)
def test_a_picture_that_can_be_shown_in_two_ways_or_none_is_named(folder, said):
    (folder / "rosé" / "odd.png").write_bytes(REFUSED[said])
    with pytest.raises(DataError, match="odd.png") as caught:
        load_folder(folder, size=8)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_flipped_bytes_of_a_picture_are_named_or_change_no_pixel(folder):
    content, chance, refused = encoded(size=(30, 30), color=(1, 2, 3)), np.random.default_rng(0), 0
    path = folder / "rosé" / "odd.png"
    for place in chance.integers(len(content), size=100):
        altered = bytearray(content)
        altered[place] ^= 1 << chance.integers(8)
        path.write_bytes(altered)
        try:
            assert load_folder(folder, size=8).images[-1, :, 0, 0].tolist() == [1, 2, 3]
        except DataError as error:
            assert "odd.png" in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 90


def test_folders_that_are_not_as_they_should_be_are_named(folder, tmp_path):
    def refused(said, place=folder):
        with pytest.raises(DataError) as caught:
            load_folder(place, size=8)
        assert said in str(caught.value) and str(place) in str(caught.value) and "\n" not in str(caught.value)

    refused("is not a folder", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    refused("must hold two folders or more", tmp_path / "empty")
    (folder / "tulip").mkdir()
    refused("tulip: holds no images")
    (folder / "tulip" / "inner").mkdir()
    refused("inner: is no image")
    (folder / "tulip" / "inner").rmdir()
    os.symlink(tmp_path / "gone.png", folder / "tulip" / "broken.png")
    refused("broken.png: is no image")
    (folder / "tulip" / "broken.png").unlink()
    (folder / "tulip").rmdir()
    (folder / "loose.JPG").write_bytes(b"")
    refused("loose.JPG is in no folder")
    (folder / "loose.JPG").unlink()
    (tmp_path / "one" / "a").mkdir(parents=True)
    (tmp_path / "one" / "a" / "a.png").write_bytes(encoded())
    refused("two folders or more", tmp_path / "one")
    with pytest.raises((ParameterError, TypeCheckError), match="=3: must be|load_folder"):
        load_folder(3)
    with pytest.raises(ParameterError, match="size=3: must be"):
        load_folder(folder, size=3)
    with pytest.raises(ParameterError, match="channels=4: must be"):
        load_folder(folder, channels=4)


def write(path, values, names=None):
    table = pyarrow.table({"image": [{"bytes": encoded(color=(v, 0, 0))} for v in values],
                           "label": [i % 2 for i in range(len(values))]})  # fmt: skip
    if names:
        kept = json.dumps({"info": {"features": {"label": {"names": names}}}})
        table = table.replace_schema_metadata({"huggingface": kept})
    pyarrow.parquet.write_table(table, path)
    return path


def test_parquet_files_follow_each_other(tmp_path):
    first, second = write(tmp_path / "b", [1, 2], ("cat", "dog")), write(tmp_path / "a", [3], ("cat", "dog"))
    data = load_parquet(first, second, size=8)
    assert data.images[:, 0, 0, 0].tolist() == [1, 2, 3] and data.labels.tolist() == [0, 1, 0]
    assert data.class_names == ("cat", "dog")
    with pytest.raises(DataError, match="c: the classes have other names"):
        load_parquet(first, write(tmp_path / "c", [3], ("dog", "cat")), size=8)
    with pytest.raises(DataError, match="nowhere is no file"):
        load_parquet(tmp_path / "nowhere")
    with pytest.raises(ParameterError, match="one Parquet file or more"):
        load_parquet(size=8)
    (tmp_path / "b").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="b is not a Parquet file that can be read"):
        load_parquet(first)


BYTES = np.random.default_rng(0).integers(256, size=(6, 3, 8, 8), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize("images", [
    BYTES, torch.from_numpy(BYTES), BYTES / 255, (BYTES / 255).astype(np.float32), torch.from_numpy(BYTES) / 255,
    BYTES.transpose(0, 2, 3, 1), torch.from_numpy(BYTES).permute(0, 2, 3, 1).double() / 255, BYTES[::-1][::-1],
    (BYTES / 255).astype(">f4"), torch.from_numpy(BYTES / 255).requires_grad_(),
])  # fmt: skip
def test_arrays_are_the_same_images_in_every_form(images):
    data = image_set(images, LABELS)
    assert np.array_equal(data.images.numpy(), BYTES) and data.labels.tolist() == LABELS.tolist()
    assert data.images.is_contiguous()


def test_gray_images_need_no_axis_of_channels_and_labels_may_be_a_list():
    data = image_set(BYTES[:, 0], [0, 1, 2, 0, 1, 2])
    assert data.images.shape == (6, 1, 8, 8) and data.labels.dtype == torch.int64
    assert image_set(BYTES[:, 0, :, :, None], LABELS).images.shape == (6, 1, 8, 8)


def test_arrays_are_copied():
    images, labels = BYTES.copy(), LABELS.copy()
    data = image_set(images, labels)
    images[:], labels[:] = 0, 0
    assert np.array_equal(data.images.numpy(), BYTES) and data.labels.tolist() == LABELS.tolist()


def holey(array):
    array = array.astype(float)
    array[0, 0, 0, 0] = float("nan")
    return array


@pytest.mark.parametrize(("images", "said"), [
    (BYTES.astype(np.float32), "floats from 0 to 1, and these go from 0 to 255"),
    (BYTES / 255 - 0.5, "these go from -0.5"),
    (holey(BYTES / 255), "floats from 0 to 1"),
    (BYTES.astype(np.int16), "images=int16 of shape"), (BYTES.astype(np.int64), "int64"), (BYTES > 9, "bool"),
    (BYTES // 200, "no pixel above 1"),
    (BYTES.tolist(), "an array of numbers"), ([BYTES], "an array of numbers"), ("abc", "an array"), (None, "an array"),
    (BYTES.astype(object), "an array of numbers"), (np.ma.masked_array(BYTES), "an array"),
    (BYTES.astype(complex), "an array of numbers"),
    (BYTES[:, :2], "one or three channels"), (BYTES[:0], "one image or more"),
    (BYTES[:, :, :, :3], "layout='NCHW' or layout='NHWC'"), (BYTES[None], "of shape"), (BYTES[0, 0, 0], "of shape"),
    (BYTES[0].transpose(1, 2, 0), "of shape"),
])  # fmt: skip
def test_images_that_could_be_read_in_two_ways_or_none_are_one_line(images, said):
    with pytest.raises(ParameterError, match="images=") as caught:
        image_set(images, LABELS)
    assert said in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_a_layout_decides_between_two_shapes():
    both = BYTES[:, :, :, :3]
    assert np.array_equal(image_set(both, LABELS, layout="NCHW").images.numpy(), both)
    assert np.array_equal(image_set(both, LABELS, layout="NHWC").images.numpy(), both.transpose(0, 3, 1, 2))
    with pytest.raises(ParameterError, match="one or three channels where layout='NHWC'"):
        image_set(BYTES, LABELS, layout="NHWC")
    with pytest.raises(ParameterError, match="layout='HWC': must be"):
        image_set(BYTES, LABELS, layout="HWC")


@pytest.mark.parametrize(("labels", "said"), [
    (LABELS[:4], "as many as the images, 6, not 4"), (LABELS - 1, "one is -1"), (LABELS.astype(float), "whole number"),
    (np.eye(3)[LABELS], "of shape (n,)"), (np.eye(3, dtype=int)[LABELS], "of shape (n,)"), (LABELS > 0, "whole number"),
    (["a"] * 6, "array of numbers"), (None, "array of numbers"), (torch.tensor(3), "of shape (n,)"),
])  # fmt: skip
def test_labels_that_are_none_are_one_line(labels, said):
    with pytest.raises(ParameterError, match="labels") as caught:
        image_set(BYTES, labels)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_registered_data_are_known_by_name_and_by_content():
    train, test = image_set(BYTES, LABELS), image_set(BYTES[:3], LABELS[:3])
    facts = register_dataset("mine", train, test, class_names=["a", "b", "c"], augmentation=None)
    assert (facts.channels, facts.size, facts.num_classes, facts.counts) == (3, 8, 3, (6, 3)) == (
        DATASETS["mine"].channels, DATASETS["mine"].size, 3, (6, 3))  # fmt: skip
    assert facts.mean == pytest.approx(BYTES.mean((0, 2, 3)) / 255, abs=1e-4) and CLASS_NAMES["mine"] == ("a", "b", "c")
    train.images[:] = 0
    assert np.array_equal(load_dataset("mine")[0].images.numpy(), BYTES)
    other = BYTES.copy()
    other[0, 0, 0, 0] ^= 1
    contents = {facts.content, register_dataset("mine", image_set(other, LABELS), test).content,
                register_dataset("mine", image_set(BYTES, LABELS[::-1].copy()), test).content,
                register_dataset("mine", image_set(BYTES, LABELS), train).content}  # fmt: skip
    assert len(contents) == 4
    assert register_dataset("again", image_set(BYTES, LABELS), test).content == facts.content


def test_sets_that_do_not_fit_are_one_line():
    train, gray = image_set(BYTES, LABELS), image_set(BYTES[:, :1], LABELS)
    named = [NamedImages(train.images, train.labels, names) for names in (("a", "b", "c"), ("a", "c", "b"))]
    wrong = {
        "name='cifar10': must be": ("cifar10", train, train),
        "name='a/b': must be": ("a/b", train, train),
        "name='': must be": ("", train, train),
        "train=.*must be an ImageSet": ("x", (BYTES, LABELS), train),
        "test=None.*must be an ImageSet": ("x", train, None),
        "test.*(as train|of train are)": ("x", train, gray),
        "train.*square": ("x", narrow := image_set(BYTES[:, :, :4], LABELS), narrow),
        "test: must have labels from 0 to 2": ("x", train, image_set(BYTES, LABELS + 1)),
        "none of class 0": ("x", image_set(BYTES, LABELS + 1), train),
        "two names or more": ("x", image_set(BYTES, LABELS * 0), train),
        "pixels that differ": ("x", image_set(np.full_like(BYTES, 7), LABELS), train),
        "classes of train, in that order": ("x", *named),
        "test.*0, 3, 8, 8|test.*empty": ("x", train, train[:0]),
        "train: must have images|train.*empty": ("x", train[:0], train),
    }
    for said, given in wrong.items():
        with pytest.raises((ParameterError, TypeCheckError)) as caught:  # whichever looks first
            register_dataset(*given)
        assert "x" not in DATASETS
        if isinstance(caught.value, ParameterError):
            line = str(caught.value)
            assert re.search(said, line) and "\n" not in line, line
    for names, said in ((["a", "b"], "labels from 0 to 1"), (["a", "a", "b"], "all different"), ("abcd", "of class 3")):
        with pytest.raises(ParameterError, match=said):
            register_dataset("x", train, train, class_names=list(names))


def test_one_folder_can_be_split(folder):
    data = load_folder(folder, size=8)
    train, test = split(data, 0.5, seed=0)
    assert type(train) is ImageSet and register_dataset("mine", train, test, class_names=data.class_names).counts == (
        2,
        2,
    )


def test_what_was_not_registered_is_one_line_with_the_remedy():
    with pytest.raises(ValueError, match="dataset='mine': must be one of.*register_dataset"):
        load_dataset("mine")


def test_very_many_classes(tmp_path):
    for number in range(300):
        (tmp_path / f"{number:03}").mkdir()
        (tmp_path / f"{number:03}" / "a.png").write_bytes(encoded("L", (8, 8), color=number % 256))
    data = load_folder(tmp_path, size=8, channels=1)
    assert register_dataset("mine", data, data).num_classes == 300


def test_a_class_that_is_a_link_to_nothing_is_named(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "c").symlink_to(tmp_path / "unmounted")
    with pytest.raises(DataError, match="c: is a link to nothing"):
        load_folder(tmp_path, size=8)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_labels_may_be_of_any_unsigned_kind(kind):
    images = np.zeros((3, 8, 8), dtype=np.float32)
    assert image_set(images, np.arange(3).astype(kind)).labels.tolist() == [0, 1, 2]
    if kind is np.uint64:
        with pytest.raises(ParameterError, match="one is 18446744073709551615"):
            image_set(images, np.array([0, 1, 2**64 - 1], dtype=kind))


def test_no_text_is_no_path(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for load in (load_folder, load_parquet):
        with pytest.raises(ParameterError, match=r"\Apath=''"):
            load("")


def test_a_file_whose_name_breaks_the_line_is_named_in_one_line(folder):
    (folder / "daisy" / "a\nb.png").write_bytes(b"none")
    with pytest.raises(DataError, match=r"\A[^\n]*a\\nb\.png: not an image that can be read\Z"):
        load_folder(folder)


def test_an_empty_list_of_class_names_is_named(folder):
    with pytest.raises(DataError, match="daisy: is no class in class_names"):
        load_folder(folder, class_names=[])


@pytest.mark.parametrize("names", ["[" * 100_000 + "]" * 100_000, '"ab"', '{"a": 1, "b": 2}', "[1, 2]", "null"])
def test_what_is_no_list_of_names_in_a_parquet_file_names_no_class(tmp_path, names):
    table = pyarrow.table({"image": [{"bytes": encoded()}] * 2, "label": [0, 1]})
    text = '{"info": {"features": {"label": {"names": %s}}}}' % names  # noqa: UP031
    pyarrow.parquet.write_table(table.replace_schema_metadata({"huggingface": text}), tmp_path / "p.parquet")
    assert load_parquet(tmp_path / "p.parquet").class_names == ()
