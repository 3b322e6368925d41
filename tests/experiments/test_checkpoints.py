"""Files of tensors: read back as saved, or named, set aside and made anew; locks and drafts do not pile up."""

import errno
import random
import subprocess
import sys
import time
import warnings

import pytest
import torch
from filelock import FileLock
from safetensors.torch import save_file
from torch import nn

from bdlib import folders
from bdlib.checks import ParameterError
from bdlib.data import tensor_files
from bdlib.data.tensor_files import load_tensors
from bdlib.experiments import checkpoints
from bdlib.experiments.checkpoints import load_checkpoint, locked, save_checkpoint
from bdlib.files import FileError, write_whole

TENSORS = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.tensor([1.5, -2.0]), "steps": torch.tensor(3)}


@pytest.fixture
def path(tmp_path):
    save_checkpoint(tmp_path / "victim.safetensors", TENSORS, {"attack": "badnets", "seed": 0})
    return tmp_path / "victim.safetensors"


def aside(path):
    return path.with_name(f"{path.name}.damaged")


def test_tensors_come_back_as_they_were_saved(path):
    tensors = load_tensors(path)
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) and tensors[name].is_contiguous() for name in TENSORS)
    assert not aside(path).exists()


def test_no_flipped_byte_is_used(path):
    """Every byte of a small file, header and tensors alike, changed once; the file is named and set aside."""
    whole, draw = path.read_bytes(), random.Random(0)
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        with pytest.warns(UserWarning, match=f"{path} is not used .* it is made anew"):
            assert load_tensors(path) is None, place
        assert not path.exists() and aside(path).read_bytes() == damaged
    assert len(list(path.parent.iterdir())) == 1  # the last one is kept, not all


@pytest.mark.parametrize("damage", [
    lambda b: b"", lambda b: b[:-1], lambda b: b[: len(b) // 2], lambda b: b + b"\0", lambda b: bytes(len(b)),
    lambda b: b"\xff" * len(b), lambda b: b"not a file of tensors", lambda b: b[8:], lambda b: b + b,
])  # fmt: skip
def test_no_other_damage_is_used_either(path, damage):
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match=f"{path} is not used"):
        assert load_tensors(path) is None


def test_the_file_of_another_victim_is_not_read_under_this_name(path):
    other = path.with_name("other.safetensors")
    other.write_bytes(path.read_bytes())
    with pytest.warns(UserWarning, match="it was written as"):
        assert load_tensors(other) is None


def test_a_file_without_a_checksum_is_made_anew(path):
    save_file(TENSORS, path, metadata={"attack": '"badnets"'})  # as earlier versions wrote it
    with pytest.warns(UserWarning, match="no checksum inside it"):
        assert load_tensors(path) is None


def test_a_folder_or_a_link_in_its_place_is_set_aside(tmp_path):
    for number, make in enumerate((lambda p: p.mkdir(), lambda p: p.symlink_to(tmp_path / "gone"))):
        path = tmp_path / f"{number}.safetensors"
        make(path)
        with pytest.warns(UserWarning, match="is not used"):
            assert load_tensors(path) is None
        save_checkpoint(path, TENSORS, {})
        assert load_tensors(path)


def test_a_folder_that_cannot_be_written_to_gives_the_files_it_has(path, monkeypatch):
    monkeypatch.setattr(checkpoints, "can_write", lambda folder: False)
    monkeypatch.setattr(folders, "can_write", lambda folder: False)
    with locked(path):
        assert load_tensors(path).keys() == TENSORS.keys()
    assert [*path.parent.iterdir()] == [path]
    with pytest.raises(ParameterError, match="^BDLIB_CACHE="), locked(path.with_name("other.safetensors")):
        pass


def test_a_full_disk_does_not_end_the_run_that_has_trained(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(tensor_files, "write_whole", full)
    with pytest.warns(UserWarning, match=r"a.safetensors cannot be written \(No space left on device\)"):
        save_checkpoint(tmp_path / "a.safetensors", TENSORS, {})


def test_weights_that_do_not_fit_are_set_aside(path):
    with pytest.warns(UserWarning, match="is not used"):
        assert not load_checkpoint(nn.Linear(4, 4), path)
    assert aside(path).exists() and not load_checkpoint(nn.Linear(4, 4), path)


def test_locks_that_nobody_holds_do_not_pile_up(tmp_path):
    (tmp_path / "killed.lock").touch()
    with FileLock(tmp_path / "held.lock"), locked(tmp_path / "one.safetensors"):
        assert {path.name for path in tmp_path.iterdir()} == {"held.lock", "one.lock"}
    assert {path.name for path in tmp_path.iterdir()} == {"held.lock"}


COUNT = """
def count(file):
    for _ in range(25):
        with locked(file):
            number = int(file.read_text() or 0)
            time.sleep(0.001)
            file.write_text(str(number + 1))
"""
ALONE = f"""
import sys, time
from pathlib import Path
from bdlib.experiments.checkpoints import locked
{COUNT}
print("ready", flush=True)
count(Path(sys.argv[1]))
"""


def test_processes_that_want_the_same_file_take_turns(tmp_path):
    file, here = tmp_path / "count.txt", {"locked": locked, "time": time}
    file.touch()
    exec(COUNT, here)
    with subprocess.Popen([sys.executable, "-c", ALONE, str(file)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "ready\n"
        here["count"](file)
    assert other.returncode == 0 and file.read_text() == "50"


def test_a_killed_writers_draft_is_swept_by_the_next_write_and_a_living_ones_is_not(tmp_path):
    code = ("import os, signal, sys; from pathlib import Path; from bdlib import files;"
            "files.draft_of(Path(sys.argv[1])).write_bytes(b'half');"
            "os.kill(os.getpid(), signal.SIGKILL)")  # fmt: skip
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.json")])
    [draft] = tmp_path.iterdir()
    living = tmp_path / "b.json.1.part"  # of the process 1
    elsewhere = tmp_path / "c.json.00000000-999999.part"  # of another machine
    for other in (living, elsewhere):
        other.touch()
    write_whole(tmp_path / "d.json", b"{}")
    assert draft.name.endswith(".part") and {p.name for p in tmp_path.iterdir()} == {
        living.name, elsewhere.name, "d.json"}  # fmt: skip


def test_a_full_disk_loses_nothing_and_is_named(tmp_path):
    """The largest file that a process may write takes the place of the disk's end."""
    write_whole(tmp_path / "kept", b"old")
    code = ("import resource, signal, sys; from pathlib import Path; from bdlib.files import write_whole;"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
            "write_whole(Path(sys.argv[1]), bytes(5000))")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "kept")], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].endswith(f"File too large: '{tmp_path / 'kept'}'")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("kept", b"old")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_whole(tmp_path / "kept", b"new")


def test_a_folder_in_the_place_of_a_lock_is_one_line(path):
    path.with_suffix(".lock").mkdir(parents=True)
    with pytest.raises(FileError, match=r"\A[^\n]*\.lock: must be a file that can be locked[^\n]*\Z"), locked(path):
        pass
