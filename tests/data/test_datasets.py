import io
import os
import random
from hashlib import sha256
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from bdlib.data import _cached, _parquet, datasets
from bdlib.data._files import DataError
from bdlib.data.datasets import ASSETS, DATASETS, load_dataset, load_embedded, read_parquet, source_of

SHARED = Path(os.environ.get("BDLIB_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(_cached, "CACHE", tmp_path / "cache")
    datasets._built_in.cache_clear()


def test_the_embedded_subset_is_whole_balanced_and_small():
    train, test = load_dataset("fashion")
    assert tuple(train.images.shape) == (12_000, 1, 28, 28) and tuple(test.images.shape) == (4_000, 1, 28, 28)
    assert train.labels.bincount().tolist() == [1200] * 10 and test.labels.bincount().tolist() == [400] * 10
    assert (ASSETS / "fashion.npz").stat().st_size <= 8e6
    assert abs(train.images.float().mean() / 255 - DATASETS["fashion"].mean[0]) < 0.005


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_a_damaged_embedded_file_is_never_used(tmp_path, damage):
    content = (ASSETS / "fashion.npz").read_bytes()
    path = tmp_path / "fashion.npz"
    if damage == "truncated":
        path.write_bytes(content[:-1000])
    if damage == "altered":
        path.write_bytes(content[:5000] + b"x" + content[5001:])
    with pytest.raises(DataError, match="missing" if damage == "missing" else "truncated or altered") as caught:
        load_embedded(path)
    assert "\n" not in str(caught.value)


def test_an_unknown_data_set_is_named():
    with pytest.raises(ValueError, match="dataset='mnits'.*fashion"):
        load_dataset("mnits")


def png(value: int, size: tuple[int, int] = (4, 4)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, 0, 255)).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(folder: Path, values: list[int]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "train-00000.parquet"
    rows = [{"bytes": png(value), "path": ""} for value in values]
    pyarrow.parquet.write_table(pyarrow.table({"image": rows, "label": list(range(len(values)))}), path)
    return list_sums(path)


def list_sums(path: Path) -> Path:
    (path.parent / "SHA256SUMS").write_text(f"{sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    return path


def test_parquet_is_decoded_in_order(tmp_path):
    write_parquet(tmp_path / "toy", [10, 20, 30])
    data = read_parquet(tmp_path / "toy", "train")
    assert data.images[:, 0, 0, 0].tolist() == [10, 20, 30] and data.labels.tolist() == [0, 1, 2]


def test_pixels_are_decoded_once_and_never_trusted_for_another_file(tmp_path, monkeypatch):
    write_parquet(tmp_path / "toy", [10, 20, 30])
    first = read_parquet(tmp_path / "toy", "train")
    (kept,) = (tmp_path / "cache" / "datasets").iterdir()
    content = kept.read_bytes()
    kept.write_bytes(content[:-5])  # truncated: decoded again
    with pytest.warns(UserWarning, match="is not used"):
        again = read_parquet(tmp_path / "toy", "train")
    assert torch.equal(again.images, first.images)
    assert len(kept.read_bytes()) == len(content)
    kept.with_name(f"{kept.name}.damaged").unlink()
    write_parquet(tmp_path / "toy", [1, 2, 3])
    assert read_parquet(tmp_path / "toy", "train").images[:, 0, 0, 0].tolist() == [1, 2, 3]
    monkeypatch.setattr(_parquet, "decode", None)  # from here on nothing can be decoded
    again = read_parquet(tmp_path / "toy", "train")
    assert again.images[:, 0, 0, 0].tolist() == [1, 2, 3] and again.labels.tolist() == [0, 1, 2]


def test_no_altered_byte_of_the_cache_is_ever_used(tmp_path):
    """200 random places; before, 40 of 40 flipped bytes were used."""
    write_parquet(tmp_path / "toy", [10, 20, 30])
    first, chance = read_parquet(tmp_path / "toy", "train"), random.Random(0)
    (kept,) = (tmp_path / "cache" / "datasets").iterdir()
    content = kept.read_bytes()
    for place in chance.sample(range(len(content)), 200):
        altered = bytearray(content)
        altered[place] ^= 1 << chance.randrange(8)
        kept.write_bytes(altered)
        with pytest.warns(UserWarning, match=f"{kept.name} is not used"):
            again = read_parquet(tmp_path / "toy", "train")
        assert torch.equal(again.images, first.images) and torch.equal(again.labels, first.labels)
        assert kept.read_bytes() != bytes(altered)


def test_a_cache_that_cannot_be_written_costs_no_data(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(_cached, "CACHE", tmp_path / "file")
    write_parquet(tmp_path / "toy", [10, 20])
    with pytest.warns(UserWarning, match="cannot be written"):
        assert read_parquet(tmp_path / "toy", "train").labels.tolist() == [0, 1]


IMAGE = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
NAMED = {"bytes": b"", "path": "a.png"}
WRONG = {
    "no column image; it has picture, label": {"picture": [b""], "label": [0]},
    "no column label; it has image": {"image": [{"bytes": png(1)}]},
    "column image: holds int64, not the bytes": {"image": [3], "label": [0]},
    "column image: holds struct<path: string>": {"image": [{"path": "a.png"}], "label": [0]},
    "column image: row 1 is empty": {"image": [{"bytes": png(1)}, {"bytes": None}], "label": [0, 1]},
    "column image: row 0 is empty": {"image": pyarrow.array([None, NAMED], IMAGE), "label": [0, 1]},
    "column image, row 0: not an image": {"image": [NAMED], "label": [0]},
    "column image, row 1: not an image": {"image": [{"bytes": png(1)}, {"bytes": png(1)[:-20]}], "label": [0, 1]},
    "column image, row 1: has the shape": {"image": [{"bytes": png(1)}, {"bytes": png(1, (5, 4))}], "label": [0, 1]},
    "column label: holds string, not whole": {"image": [{"bytes": png(1)}], "label": ["frog"]},
    "column label: holds double, not whole": {"image": [{"bytes": png(1)}], "label": [0.5]},
    "column label: row 0 is empty": {"image": [{"bytes": png(1)}], "label": pyarrow.array([None], pyarrow.int64())},
    "column label: row 0 holds -1, not a whole number": {"image": [{"bytes": png(1)}], "label": [-1]},
    "column label: row 1 holds 18446744073709551615": {
        "image": [{"bytes": png(1)}] * 2,
        "label": pyarrow.array([0, 2**64 - 1], pyarrow.uint64()),
    },
    "holds no images": {"image": pyarrow.array([], IMAGE), "label": pyarrow.array([], pyarrow.int64())},
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_wrong_in_a_parquet_file_is_one_line(tmp_path, said):
    path = tmp_path / "toy" / "train-0.parquet"
    path.parent.mkdir()
    pyarrow.parquet.write_table(pyarrow.table(WRONG[said]), path)
    list_sums(path)
    with pytest.raises(DataError) as caught:
        read_parquet(path.parent, "train")
    assert str(path) in str(caught.value) and said in str(caught.value) and "\n" not in str(caught.value)


def test_a_damaged_parquet_file_is_one_line_or_as_it_was(tmp_path):
    """Listed in SHA256SUMS as it is: whoever does that vouches for its pixels, but never gets a traceback."""
    path, chance, refused = write_parquet(tmp_path / "toy", [10, 20, 30]), random.Random(0), 0
    content = path.read_bytes()
    for _ in range(150):
        altered = bytearray(content)
        altered[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(altered)
        list_sums(path)
        try:
            assert read_parquet(path.parent, "train").images.shape == (3, 3, 4, 4)
        except DataError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 30


def test_a_folder_that_is_none_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for place in ("file", "nowhere"):
        monkeypatch.setenv("BDLIB_DATA", str(tmp_path / place))
        with pytest.raises(DataError, match=f"BDLIB_DATA=.*{place}: is not a folder"):
            load_dataset("cifar10")
    assert len(load_dataset("fashion")[0]) == 12_000  # it needs none


@pytest.mark.parametrize("listing", [b"abc", b"\xff\xfe", b"0 a b\nnonsense"])
def test_a_listing_that_is_none_is_named(tmp_path, listing):
    path = write_parquet(tmp_path / "toy", [1, 2])
    (path.parent / "SHA256SUMS").write_bytes(listing)
    with pytest.raises(DataError, match="SHA256SUMS is not a list that"):
        read_parquet(path.parent, "train")


def test_what_is_trained_on_one_source_is_not_taken_for_another(tmp_path, monkeypatch):
    write_parquet(tmp_path / "cifar10", [1, 2])
    monkeypatch.delenv("BDLIB_DATA", raising=False)
    sources = {source_of("cifar10")}
    monkeypatch.setenv("BDLIB_DATA", str(tmp_path))
    sources.add(source_of("cifar10"))
    write_parquet(tmp_path / "cifar10", [1, 3])
    sources.add(source_of("cifar10"))
    assert len(sources) == 3 and "" not in sources and source_of("fashion") == ""


def test_parquet_needs_its_checksum(tmp_path):
    path = write_parquet(tmp_path / "toy", [1, 2])
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    with pytest.raises(DataError, match="truncated or altered"):
        read_parquet(path.parent, "train")
    path.write_bytes(content)
    (path.parent / "SHA256SUMS").unlink()
    with pytest.raises(DataError, match="no checksum known.*sha256sum"):
        read_parquet(path.parent, "train")
    with pytest.raises(DataError, match=r"no test\*.parquet"):
        read_parquet(path.parent, "test")


def test_a_short_data_set_is_refused(tmp_path, monkeypatch):
    path = write_parquet(tmp_path / "cifar10", [1, 2])
    path.with_name("test-0.parquet").write_bytes(path.read_bytes())
    sums = path.parent / "SHA256SUMS"
    sums.write_text(sums.read_text() + sums.read_text().replace(path.name, "test-0.parquet"))
    monkeypatch.setenv("BDLIB_DATA", str(tmp_path))
    with pytest.raises(DataError, match="images of shape .2, 3, 4, 4., not .50000, 3, 32, 32."):
        load_dataset("cifar10")


def test_the_real_data_sets_that_are_here():
    """CIFAR-10 and GTSRB test sets, where their folder is; nothing to check where it is not."""
    for name in ("cifar10", "gtsrb"):
        if (SHARED / name).is_dir():
            data = datasets._check_facts(name, read_parquet(SHARED / name, "test"), 1)
            means = data.images.float().mean((0, 2, 3)) / 255
            assert torch.allclose(means, torch.tensor(DATASETS[name].mean), atol=0.01)
