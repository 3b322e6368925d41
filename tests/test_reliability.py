"""The whole engine, killed in the middle and started again, in a copy of the repository."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("bdlib", "notebooks", "profiles", "results/reported", "Snakefile", "_config.yml", "scripts", "book")


@pytest.fixture
def copy(tmp_path):
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, tmp_path / part)
    return tmp_path


def engine(folder):
    """Snakemake at smoke scale on the copy, in a process group of its own: two chapters that share a victim."""
    program = str(Path(sys.executable).with_name("snakemake"))
    command = [program, "--config", "profile=smoke", "--profile", "profiles/local",
               "results/smoke/nad.ipynb", "results/smoke/rnp.ipynb"]  # fmt: skip
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": paths, "PYTHONPATH": str(folder), "BDLIB_CACHE": str(folder / "cache")}
    with (folder / "engine.log").open("a") as log:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)


def test_killed_while_a_notebook_runs_it_keeps_the_victim_and_finishes_on_the_next_call(copy):
    killed = engine(copy)
    deadline = time.monotonic() + 200
    while not list(copy.glob("results/smoke/*.part.ipynb")):
        assert killed.poll() is None and time.monotonic() < deadline, (copy / "engine.log").read_text()[-2000:]
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (copy / "results/smoke/nad.ipynb").exists()
    made = {path: path.stat().st_mtime_ns for path in (copy / "cache" / "victims").glob("*.safetensors")}
    assert made

    assert engine(copy).wait(timeout=300) == 0, (copy / "engine.log").read_text()[-2000:]
    assert (copy / "results/smoke/nad.ipynb").exists() and (copy / "build/smoke/nad.json").exists()
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert not list(copy.rglob("*.part*"))
    finished = (copy / "results/smoke/nad.ipynb").stat().st_mtime_ns

    assert engine(copy).wait(timeout=100) == 0
    assert (copy / "results/smoke/nad.ipynb").stat().st_mtime_ns == finished  # nothing left to do
