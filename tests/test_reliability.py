"""The whole engine, killed in the middle and started again, in a copy of the repository."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
PARTS = (
    "bdlib",
    "notebooks",
    "profiles",
    "results/reported",
    "Makefile",
    "Snakefile",
    "_config.yml",
    "scripts",
    "book",
)


@pytest.fixture
def copy(tmp_path):
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, tmp_path / part)
    return tmp_path


def start(folder, command):
    """A command in the copy, in a process group of its own; what it prints is added to engine.log."""
    paths = {"PYTHONPATH": str(folder), "BDLIB_CACHE": str(folder / "cache"), "TMPDIR": tempfile.gettempdir()}
    left_out = ("MAKE", "BDLIB_THREADS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(left_out)} | paths
    with (folder / "engine.log").open("a") as log:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)


def engine(folder, *options):
    """Snakemake at smoke scale on the copy: two chapters that share a victim."""
    program = str(Path(sys.executable).with_name("snakemake"))
    return start(folder, [program, *options, "--config", "profile=smoke", "--profile", "profiles/local",
                          "results/smoke/nad.ipynb", "results/smoke/rnp.ipynb"])  # fmt: skip


def planned_chapters(folder):
    """The chapters that Snakemake would run next, by a dry run."""
    before = len((folder / "engine.log").read_text())
    assert engine(folder, "-n").wait(timeout=100) == 0
    return {*re.findall(r"chapter (\w+), smoke", (folder / "engine.log").read_text()[before:])}


def kill_when(process, folder, pattern, log):
    """Kill a process and all its children as soon as there is a file of this pattern."""
    deadline = time.monotonic() + 200
    while not list(folder.glob(pattern)):
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def temporary(monkeypatch):
    """A temporary folder with a path short enough for a kernel's sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def test_killed_while_a_notebook_runs_it_keeps_the_victim_and_finishes_on_the_next_call(copy, temporary):
    kill_when(engine(copy), temporary, "bdlib-*.part/draft.ipynb", copy / "engine.log")
    assert not (copy / "results/smoke/nad.ipynb").exists()
    made = {path: path.stat().st_mtime_ns for path in (copy / "cache" / "victims").glob("*.safetensors")}
    assert made

    assert engine(copy).wait(timeout=300) == 0, (copy / "engine.log").read_text()[-2000:]
    assert (copy / "results/smoke/nad.ipynb").exists() and (copy / "build/smoke/nad.json").exists()
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert not list(copy.rglob("*.part*")) and not list(temporary.glob("bdlib-*"))
    runtime = json.loads((copy / "build/smoke/nad.json").read_text())["runtime"]
    assert runtime["threads"] == runtime["victim_threads"] == "1"  # one process a core
    finished = (copy / "results/smoke/nad.ipynb").stat().st_mtime_ns

    assert engine(copy).wait(timeout=100) == 0
    assert (copy / "results/smoke/nad.ipynb").stat().st_mtime_ns == finished  # nothing left to do

    record = copy / "results" / "quick" / "nad" / "another.json"  # an old record comes, and goes
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    os.utime(record, (0, 0))
    assert planned_chapters(copy) == {"nad", "rnp"}
    record.unlink()
    assert planned_chapters(copy) == set()
    with (copy / "bdlib" / "words.py").open("a") as code:  # Snakemake knows an input that is newer and the same
        code.write("# changed\n")
    assert planned_chapters(copy) == {"nad", "rnp"}


STUDIES = """
headline:
  - {method: NAD, seed: [0, 1]}
beta:
  - {method: NAD, power: [3.0, 4.0, 5.0]}
"""
# Takes the place of a run: seconds instead of minutes, and by its parameters it waits or fails.
STAND_IN = """

def run(paper, parameters):
    from bdlib.folders import RESULTS

    if parameters["power"] == 4.0 and not (RESULTS / "awake").exists():
        (RESULTS / "asleep").touch()
        time.sleep(300)
    if parameters["power"] == 5.0:
        raise FloatingPointError("the loss is nan")
    scores = Scores(0.9, 1.0, 0.0, 0.9), Scores(0.8, 0.1, 0.7, 0.8)
    return Record(paper, parameters, *scores, None, versions=versions(paper, parameters))
"""


@pytest.fixture
def planned(copy):
    """The copy with five runs planned at smoke scale: in the group of the second, one waits and one fails."""
    (copy / "notebooks/params/smoke/nad.records.yaml").write_text(STUDIES)
    with (copy / "bdlib/experiments/run.py").open("a") as source:
        source.write(STAND_IN)
    (copy / ".venv").symlink_to(sys.prefix)
    return copy


def make_records(folder, *words):
    """`make records` at smoke scale, one job after the other, so that it is known which are done."""
    bdlib = f"BDLIB={sys.executable} -m bdlib.cli"
    return start(folder, ["make", "-o", ".venv/.installed", "records", "PROFILE=smoke", "JOBS=1", bdlib, *words])


def made(folder):
    """The records there are, each with the time when it was written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("results/smoke/nad/*.json")}


def test_records_survive_a_kill_and_the_end_of_a_slice_and_one_that_fails_stops_no_other(planned):
    kill_when(make_records(planned), planned, "results/asleep", planned / "engine.log")
    survivors = made(planned)
    assert len(survivors) == 2  # the headline, and the first run of the group that was killed

    assert make_records(planned, "SLICE=0.2").wait(timeout=300) == 0, (planned / "engine.log").read_text()[-2000:]
    assert made(planned) == survivors
    assert "2 of 5 smoke runs are here, 3 are missing." in (planned / "engine.log").read_text()

    (planned / "results/awake").touch()
    (planned / "engine.log").unlink()
    damaged = min(survivors)
    damaged.write_text(damaged.read_text().replace("0.9", "0.8", 1))
    assert make_records(planned).wait(timeout=300) != 0
    log = (planned / "engine.log").read_text()
    assert f"{damaged.name}: its content was altered" in log and survivors.pop(damaged)
    assert "FAILED results/smoke/nad/" in log and ".failed.txt: FloatingPointError: the loss is nan" in log, log[-2000:]
    assert len(made(planned)) == 4 and survivors.items() <= made(planned).items()
    manifest = pd.read_csv(planned / "results/smoke/manifest.csv")
    assert list(manifest["state"]) == ["here"] * 4 + ["missing"]
    assert len(pd.read_csv(planned / "results/smoke/metrics.csv")) == 4
