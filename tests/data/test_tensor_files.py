import random
import shutil

import pytest
import torch
from safetensors.torch import save_file

from bdlib.data.tensor_files import load_tensors, save_tensors

TENSORS = {"a": torch.arange(300, dtype=torch.uint8).reshape(3, 1, 10, 10), "b": torch.tensor([1.5, float("nan")])}


@pytest.fixture
def path(tmp_path):
    return save_tensors(tmp_path / "dïr" / 'a "file".safetensors', TENSORS, {"seed": "0", "note": '"sha256":"00"'})


def test_what_is_written_is_read(path):
    read = load_tensors(path)
    assert read.keys() == TENSORS.keys()
    assert all(read[k].dtype == t.dtype and torch.equal(read[k].nan_to_num(7), t.nan_to_num(7))
               for k, t in TENSORS.items())  # fmt: skip
    assert load_tensors(path.with_name("nowhere")) is None


def test_layouts_and_shared_memory_are_written(tmp_path):
    tied = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    read = load_tensors(save_tensors(tmp_path / "a", {"a": tied, "b": tied, "c": tied[:, ::2]}))
    assert torch.equal(read["a"], tied) and torch.equal(read["b"], tied) and torch.equal(read["c"], tied[:, ::2])


def test_no_altered_byte_is_ever_used(path):
    content, chance = path.read_bytes(), random.Random(0)
    for place in [*range(300), *chance.sample(range(300, len(content)), 200)]:
        altered = bytearray(content)
        altered[place] ^= 1 << chance.randrange(8)
        path.write_bytes(altered)
        with pytest.warns(UserWarning, match="is not used"):
            assert load_tensors(path) is None, place


@pytest.mark.parametrize("damage", [lambda c: b"", lambda c: c[:5], lambda c: c[:-1], lambda c: c + b"\0",
                                    lambda c: bytes(len(c)), lambda c: b"PK\3\4" * 30])  # fmt: skip
def test_a_damaged_file_is_named_once_and_set_aside(path, damage):
    damaged = damage(path.read_bytes())
    for _ in range(2):
        path.write_bytes(damaged)
        with pytest.warns(UserWarning) as caught:
            assert load_tensors(path) is None
        (line,) = [str(warning.message) for warning in caught]
        assert str(path) in line and "\n" not in line
        assert [p.name for p in path.parent.iterdir()] == [f"{path.name}.damaged"]
    assert path.with_name(f"{path.name}.damaged").read_bytes() == damaged


def test_another_files_tensors_are_not_used(path):
    other = path.with_name("b.safetensors")
    shutil.copy(path, other)
    with pytest.warns(UserWarning, match=r"it was written as d.r/a"):
        assert load_tensors(other) is None
    moved = shutil.copytree(path.parent, path.parents[1] / "cache2" / path.parent.name)
    assert load_tensors(moved / path.name) is not None  # a whole cache may move


def test_a_file_without_a_checksum_is_not_used(path):
    save_file(TENSORS, path)
    with pytest.warns(UserWarning, match="no checksum"):
        assert load_tensors(path) is None
