"""Kernels start whatever the temporary folder is called, leave nothing there, and no finished notebook is lost."""

import json
import os
import signal
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from bdlib.experiments import places
from bdlib.experiments.notebooks import NotebookError, execute, notebook
from bdlib.experiments.places import kernel_folder, write_or_rescue

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def page(path, source):
    """A notebook with one parameter and one cell."""
    first = new_code_cell("seed = 0", metadata={"tags": ["parameters"]})
    nbformat.write(new_notebook(cells=[first, new_code_cell(source)], metadata=KERNEL), path)
    return path


@pytest.fixture
def temporary(monkeypatch):
    """Makes a folder the temporary one; its name is as long as asked for."""

    def use(folder):
        folder.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(folder))
        monkeypatch.setenv("TMPDIR", str(folder))
        return folder

    return use


def test_a_long_temporary_folder_gives_a_short_one_for_sockets(temporary, tmp_path):
    temporary(tmp_path / ("x y ö" * 20))
    with kernel_folder() as (folder, transport):
        assert folder.is_dir() and folder.stat().st_mode & 0o077 == 0  # nobody else reads the kernel's key
        assert transport == "tcp" or len(os.fsencode(folder / "k-ipc-99")) <= 107
    assert not folder.exists()


def test_where_no_short_folder_is_ports_take_the_place_of_sockets(temporary, tmp_path, monkeypatch):
    long = temporary(tmp_path / ("x" * 120))
    monkeypatch.setattr(places, "LONGEST", 3)
    with kernel_folder() as (folder, transport):
        assert transport == "tcp" and folder.parent == long


@pytest.mark.filterwarnings("ignore")
def test_a_kernel_runs_under_a_long_temporary_folder_and_a_vanished_place_loses_nothing(
    temporary, tmp_path, monkeypatch
):
    folder, out = temporary(tmp_path / ("lang ä " * 18)), tmp_path / "results" / "out.ipynb"
    monkeypatch.setattr(places, "RUNS", tmp_path)
    vanish = f"import shutil, pathlib; shutil.rmtree({str(out.parent)!r}); pathlib.Path({str(out.parent)!r}).touch()"
    place = execute(page(tmp_path / "in.ipynb", vanish), out, {"seed": 1})
    assert place == tmp_path / "rescued" / "out.ipynb"
    assert nbformat.read(place, as_version=4).metadata.papermill.output_path == str(out)
    assert not list(folder.iterdir())


@pytest.mark.filterwarnings("ignore")
def test_a_notebook_that_fails_is_one_line_that_says_where_it_is_kept(tmp_path):
    page(tmp_path / "in.ipynb", "def f(): raise ValueError('of\\ntwo lines')\nf()")
    with pytest.raises(NotebookError) as error:
        execute(tmp_path / "in.ipynb", tmp_path / "out.ipynb", {"seed": 1})
    assert str(error.value) == f"in.ipynb: ValueError: of; see {tmp_path / 'out.failed.ipynb'}"


def test_what_a_killed_process_leaves_is_removed_by_the_next(temporary, tmp_path, monkeypatch):
    folder = temporary(tmp_path / "t")
    code = """
import os, signal
from bdlib.experiments import places
places.LONGEST = 300
with places.kernel_folder() as (folder, _):
    (folder / "k-ipc-1").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    [left] = folder.iterdir()
    monkeypatch.setattr(places, "LONGEST", 300)
    with kernel_folder() as (own, _):
        assert list(folder.iterdir()) == [own] != [left]
    assert not list(folder.iterdir())


def test_a_result_that_can_be_written_nowhere_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(places, "RUNS", tmp_path / "file")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    with pytest.raises(OSError, match=str(tmp_path / "file" / "x")):
        write_or_rescue(tmp_path / "file" / "x", b"")


def test_a_notebook_is_written_to_a_place_whose_name_is_no_utf8(tmp_path):
    out = tmp_path / "\udcff.ipynb"
    assert execute(notebook("nad"), out, {}, prepare_only=True) == out
    assert json.loads(out.read_text(encoding="utf-8"))["metadata"]["papermill"]["output_path"] == str(out)
