"""What a stranger's file is told by, what its process may not do, and what the two processes say to each other."""

import io
import os
import struct
import subprocess
import sys

import pytest
import torch

from bdlib.checks import ParameterError
from bdlib.files import FileError
from bdlib.submissions import guard
from bdlib.submissions.messages import MessageError, read_message, write_message
from bdlib.submissions.source import read_source

FUNCTIONS = {
    "def f(model, clean, *, seed=0, strength=1): ...": ("defense", ("model", "clean"), ("seed", "strength")),
    "def f(make_model, poisoned, clean, epochs=1): ...": ("defense", ("make_model", "poisoned", "clean"), ("epochs",)),
    "def f(make_model, poisoned, *, seed): ...": ("defense", ("make_model", "poisoned"), ("seed",)),
    "def f(images): ...": ("attack", ("images",), ()),
    "f = Attack(NUMBERS_VERSION=1)": ("attack", (), ()),
    "def f(channels, num_classes): ...": ("network", ("channels", "num_classes"), ()),
}
REFUSED = {
    "def g(model, clean): ...": "has no f; it has g",
    "def f(model, test): ...": r"its arguments \(model, test\) are of no known form",
    "def f(model, clean, *, trigger): ...": "trigger: a keyword must have a default",
    "def f(model, clean): 1 +": "line 1: it is no Python: invalid syntax",
    "class f: ...": "has no f; it has no function",
}


@pytest.mark.parametrize("text", FUNCTIONS)
def test_the_kind_of_a_function_is_told_by_its_arguments_and_nothing_is_run(text, tmp_path):
    (tmp_path / "own.py").write_text(text + "\nif True:\n    raise SystemExit('it was run')\n")
    source = read_source(f"{tmp_path}/own.py:f")
    assert (source.kind, source.arguments, source.keywords) == FUNCTIONS[text] and source.name == "own"


@pytest.mark.parametrize("text", REFUSED)
def test_another_function_is_one_line(text, tmp_path):
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(ParameterError, match=REFUSED[text]) as caught:
        read_source(f"{tmp_path}/own.py:f")
    assert "\n" not in str(caught.value)


def test_what_names_no_function_is_one_line(tmp_path):
    for text in ("own.py", "own.txt:f", f"{tmp_path}:f", "own.py:f(x)"):
        with pytest.raises(ParameterError, match="must be FILE.py:FUNCTION, such as my_defense.py:purify"):
            read_source(text)
    with pytest.raises(FileError, match="it is missing"):
        read_source(f"{tmp_path}/none.py:f")


def test_the_inner_folder_decides(tmp_path):
    (tmp_path / "data" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    folders = {os.path.realpath(tmp_path / "data"): True, os.path.realpath(tmp_path / "data" / "inner"): False}
    modules = ("bdlib.attacks", "bdlib.data.datasets")

    def words(event, *arguments):
        return guard._refused(event, arguments, modules, folders)

    for path in (f"{tmp_path}/data/a.parquet", f"{tmp_path}/link/a", f"{tmp_path}/data/inner/../a", "/proc/1/cmdline"):
        assert words("open", path, "r", 0).endswith(": not allowed")
    for path in (f"{tmp_path}/data/inner/a", f"{tmp_path}/database", 3, None, f"/proc/{os.getpid()}/status"):
        assert not words("open", path, "r", 0)
    assert words("import", "bdlib.attacks.badnets") and not words("import", "bdlib.attack_free")
    assert words("socket.connect", None, ("1.2.3.4", 80)) and not words("socket.connect", None, "/run/a")
    assert words("subprocess.Popen", "ls", ["ls"], None, None) and words("os.kill", 1, 9)


def test_messages_are_read_as_they_were_written_and_nonsense_is_refused():
    stream = io.BytesIO()
    write_message(stream, {"is": "answer", "n": 1}, {"a": torch.arange(3.0)})
    whole = stream.getvalue()
    message = read_message(io.BytesIO(whole))
    assert message.facts["n"] == 1 and message.tensors["a"].tolist() == [0, 1, 2]
    assert read_message(io.BytesIO()) is None
    for broken in (whole[:5], whole[:-1], struct.pack("<IQ", 4, 2**50), struct.pack("<IQ", 2, 0) + b"[]",
                   whole.replace(b'"is"', b'"as"')):  # fmt: skip
        with pytest.raises(MessageError):
            read_message(io.BytesIO(broken))
    with pytest.raises(MessageError, match="more than asked for"):
        read_message(io.BytesIO(whole), lambda: 10)


TRIED = """
import os, subprocess, sys
from bdlib.submissions.landlock import restrict
base = sys.argv[1]
kept = restrict([f"{base}/data"], [f"{base}/desk"], [f"{base}/desk", f"{base}/data/own"])
def can(act, *words):
    try:
        act(*words)
        return True
    except OSError:
        return False
read = [can(open, f"{base}/{name}") for name in ("data/a", "data/deep/b", "link", "beside", "data/own/c")]
write = [can(open, f"{base}/{name}", "w") for name in ("new", "desk/new", "beside")]
print(kept, *read, *write, can(os.listdir, base), can(subprocess.run, [sys.executable, "-c", ""]))
"""


def test_the_kernel_refuses_what_lies_in_forbidden_folders(tmp_path):
    for name in ("data/a", "data/deep/b", "beside", "data/own/c", "desk/d"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "data" / "a")
    done = subprocess.run([sys.executable, "-c", TRIED, str(tmp_path)], capture_output=True, text=True, check=True)
    kept, *found = [word == "True" for word in done.stdout.split()]
    refused = [False, False, False, True, True, False, True, False, True, False]
    assert found == (refused if kept else [True] * len(refused))  # a kernel without Landlock changes nothing
