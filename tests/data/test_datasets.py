import io
import os
import zipfile
from functools import partial
from hashlib import md5, sha256
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread

import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from bdlib.data import _download, datasets
from bdlib.data._files import DataError
from bdlib.data.datasets import ASSETS, DATASETS, load_dataset, load_embedded, read_parquet

SHARED = Path(os.environ.get("BDLIB_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "CACHE", tmp_path / "cache")


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


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (value, 0, 255)).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(folder: Path, values: list[int]) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "train-00000.parquet"
    rows = [{"bytes": png(value), "path": ""} for value in values]
    pyarrow.parquet.write_table(pyarrow.table({"image": rows, "label": list(range(len(values)))}), path)
    (folder / "SHA256SUMS").write_text(f"{sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
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
    assert torch.equal(read_parquet(tmp_path / "toy", "train").images, first.images)
    assert kept.read_bytes() == content
    write_parquet(tmp_path / "toy", [1, 2, 3])
    assert read_parquet(tmp_path / "toy", "train").images[:, 0, 0, 0].tolist() == [1, 2, 3]
    monkeypatch.setattr(datasets, "decode", None)  # from here on nothing can be decoded
    again = read_parquet(tmp_path / "toy", "train")
    assert again.images[:, 0, 0, 0].tolist() == [1, 2, 3] and again.labels.tolist() == [0, 1, 2]


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
    load_dataset.cache_clear()
    with pytest.raises(DataError, match="images of shape .2, 3, 4, 4., not .50000, 3, 32, 32."):
        load_dataset("cifar10")


def test_the_real_data_sets_that_are_here():
    """CIFAR-10 and GTSRB test sets, where their folder is; nothing to check where it is not."""
    for name in ("cifar10", "gtsrb"):
        if (SHARED / name).is_dir():
            data = datasets._check_facts(name, read_parquet(SHARED / name, "test"), 1)
            means = data.images.float().mean((0, 2, 3)) / 255
            assert torch.allclose(means, torch.tensor(DATASETS[name].mean), atol=0.01)


def test_tiny_imagenet_comes_from_its_archive(tmp_path, monkeypatch):
    archive = tmp_path / "tiny.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for label, word in enumerate(("n01", "n02")):
            file.writestr(f"tiny-imagenet-200/train/{word}/images/{word}_0.JPEG", png(label))
        file.writestr("tiny-imagenet-200/val/images/val_0.JPEG", png(7))
        file.writestr("tiny-imagenet-200/val/val_annotations.txt", "val_0.JPEG\tn02\t0\t0\t1\t1\n")
    server = HTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}/tiny.zip"
    monkeypatch.setattr(_download, "TINY_IMAGENET", (address, md5(archive.read_bytes()).hexdigest()))
    try:
        train, test = _download.download_tiny_imagenet(tmp_path / "downloads")
        monkeypatch.setattr(_download, "TINY_IMAGENET", (address, "0" * 32))
        monkeypatch.setenv("BDLIB_DOWNLOADS", str(tmp_path / "altered"))
        with pytest.raises(DataError, match="tiny_imagenet"):
            _download.download("tiny_imagenet", 64)
    finally:
        server.shutdown()
        server.server_close()
    assert train.labels.tolist() == [0, 1] and test.labels.tolist() == [1]
    assert test.images[0, 0, 0, 0] == 7


def test_missing_and_offline_is_one_error_with_both_remedies(tmp_path, monkeypatch):
    monkeypatch.setattr(_download, "TINY_IMAGENET", ((tmp_path / "nowhere.zip").as_uri(), "0"))
    monkeypatch.setenv("BDLIB_DOWNLOADS", str(tmp_path / "downloads"))
    with pytest.raises(DataError, match="go online, or set BDLIB_DATA"):
        _download.download("tiny_imagenet", 64)
