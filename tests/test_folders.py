"""Where files go: a checkout, a wheel, a checkout that cannot be written to, and machines with odd settings."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from bdlib import cli, folders
from bdlib.checks import ParameterError
from bdlib.cli import runs
from bdlib.experiments.checkpoints import locked
from bdlib.folders import can_write, check_can_write, folder_of, user_folder
from bdlib.runtime import best_device

ROOT = Path(__file__).parents[1]
TINY = [f"-p{word}" for word in ("victim_epochs=1", "data_fraction=0.05", "teacher_epochs=1", "student_epochs=1")]
RUN = ["run", "nad", "--profile", "smoke", *TINY]


@pytest.fixture
def file(tmp_path):
    """A file where a folder is wanted: nobody can write below it, root neither."""
    path = tmp_path / "file"
    path.touch()
    return path


def odd_copy(tmp_path, *parts):
    """A copy of some of the repository in a folder with blanks and letters that are not ASCII."""
    folder = tmp_path / "Ünï cödé" / "bd lib"
    for part in parts:
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, folder / part)
    return folder


def run(command, folder, **settings):
    """A command in another folder, with these environment variables and no other, and no standard input."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {"PATH": "/usr/bin:/bin", "BDLIB_THREADS": "1", "OMP_NUM_THREADS": "1", **settings}
    return subprocess.run(["/bin/sh", "-c", 'umask 077; exec "$@" <&-', "sh", *command], cwd=folder, env=environment,
                          capture_output=True, text=True)  # fmt: skip


def test_an_empty_variable_is_no_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("BDLIB_CACHE", "")
    assert folder_of("BDLIB_CACHE", tmp_path) == tmp_path
    monkeypatch.setenv("BDLIB_CACHE", "~/mine")
    assert folder_of("BDLIB_CACHE", tmp_path) == Path.home() / "mine"


def test_a_folder_that_is_not_there_yet_can_be_written_to_where_it_can_be_made(tmp_path, file):
    assert can_write(tmp_path / "a" / "b") and not (tmp_path / "a").exists()
    assert not can_write(file / "a") and not can_write(file)


def test_nothing_is_written_into_an_installed_package(monkeypatch, tmp_path):
    monkeypatch.setattr(folders, "BUNDLE", tmp_path)
    assert not can_write(tmp_path / "results")
    with pytest.raises(ParameterError, match=r"BDLIB_RESULTS='.*': it is part of the installed package; set BDLIB_RES"):
        check_can_write(tmp_path / "results", "BDLIB_RESULTS")


def test_a_cache_that_cannot_be_used_is_one_line_before_any_training(file):
    with (
        pytest.raises(ParameterError, match=r"BDLIB_CACHE='.*file/victims': .* set BDLIB_CACHE"),
        locked(file / "victims/a"),
    ):
        pass
    with pytest.raises(ParameterError, match="BDLIB_CACHE='/proc/nope'"):
        check_can_write(Path("/proc/nope"), "BDLIB_CACHE")


@pytest.mark.parametrize("words", [["manifest"], ["records", "--paper", "nad"], ["verify", "--accept"]])
def test_commands_that_write_results_say_in_one_line_that_they_cannot(words, file, monkeypatch):
    monkeypatch.setattr(folders, "RESULTS", file / "results")
    done = CliRunner().invoke(cli.main, words)
    assert done.exit_code == 2 and len(done.output.splitlines()) == 1 and "BDLIB_RESULTS" in done.output


def test_without_a_home_the_users_folder_is_a_temporary_one(file, tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_folder() == tmp_path / ".cache" / "bdlib"
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("HOME", str(file))
    assert user_folder().parent == tmp_path / "temporary"


def test_the_callers_random_numbers_are_left_alone():
    state = torch.get_rng_state()
    best_device()
    assert torch.equal(state, torch.get_rng_state()) and torch.get_num_threads() == 1


def test_published_numbers_are_there_whatever_the_folder_of_results(tmp_path):
    code = "from bdlib.experiments.records import reported; assert len(reported('nad'))"
    done = run([sys.executable, "-c", code], tmp_path, BDLIB_RESULTS=str(tmp_path / "own"), PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr


def test_a_checkout_that_cannot_be_written_to_on_a_machine_that_lacks_almost_everything(tmp_path, file):
    """No home, no network, no git, no standard input, one processor, ASCII for files, another folder: it still runs."""
    copy = odd_copy(tmp_path, "bdlib", "notebooks", "results/reported")
    subprocess.run(["chmod", "-R", "a-w", str(copy)], check=True)
    prefix: list[str] = []
    if shutil.which("unshare") and not subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode:
        prefix += [shutil.which("unshare"), "-n"]
    if os.geteuid() == 0:  # whom the missing rights to write would not stop
        prefix += [shutil.which("setpriv"), "--bounding-set", "-dac_override,-dac_read_search"]
    settings = {"HOME": str(file), "TMPDIR": str(tmp_path / "t ö"), "LANG": "C", "PYTHONUTF8": "0", "PATH": "/nowhere",
                "PYTHONPATH": str(copy)}  # fmt: skip
    Path(settings["TMPDIR"]).mkdir()
    one_cpu = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); from bdlib.cli import main; main()"
    command = [*prefix, sys.executable, "-c", one_cpu]
    done = run([*command, *RUN], tmp_path / "elsewhere", **settings)
    assert done.returncode == 0, done.stderr
    record = json.loads(next((tmp_path / "elsewhere/bdlib-runs/smoke/nad").glob("*.json")).read_text())
    assert record["runtime"]["commit"] == "unknown"
    assert list((tmp_path / "t ö").glob("bdlib-*/victims/*.safetensors"))
    done = run([*command, "manifest"], tmp_path / "elsewhere", **settings)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "set BDLIB_RESULTS" in done.stderr


def test_a_notebook_without_papermill_says_in_one_line_what_to_install(monkeypatch):
    monkeypatch.setattr(runs, "find_spec", lambda name: None)
    done = CliRunner().invoke(cli.main, ["notebook", "nad", "out.ipynb"])
    assert done.exit_code == 1
    assert done.output == "Error: bdlib notebook needs papermill and ipykernel: pip install 'bdlib[run]'\n"


FAR_FROM_HOME = """
import sys
import bdlib
from bdlib import DEFENSES, VictimConfig, claims, evaluate_victim, load_data, load_study, trained_victim, split
from bdlib.cli import main

assert bdlib.__file__.startswith(sys.argv[1]), bdlib.__file__
for words in ("--help", "list", "show nad", "notebook nad out.ipynb --profile smoke --prepare-only", "records --list"):
    main(words.split(), standalone_mode=False)
config = VictimConfig(victim_epochs=1, data_fraction=0.05)
train, test = load_data(config)
victim = trained_victim(config)
repaired = DEFENSES["fine_tune"](victim, split(train, 0.5, seed=0)[0], epochs=1, seed=0)
assert 0 <= evaluate_victim(config, repaired, test).asr <= 1
assert len(load_study("nad", "quick", "headline")) and claims.load_claims()
main(sys.argv[2:], standalone_mode=False)
main(["manifest"])
"""


def test_a_wheel_works_without_the_repository(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, check=True, cwd=ROOT, capture_output=True)
    wheel = next(tmp_path.glob("*.whl"))
    assert wheel.stat().st_size < 70_000_000  # 39 MB of it are the zoo, 9 MB VDC's image recogniser
    site, home = tmp_path / "sïte packages", tmp_path / "home"
    zipfile.ZipFile(wheel).extractall(site)
    names = {path.relative_to(site / "bdlib" / "_book").parts[:2] for path in site.glob("bdlib/_book/*/*")}
    assert ("results", "quick") in names and ("results", "smoke") not in names and ("book", "claims.yaml") in names
    assert ("zoo", "manifest.csv") in names  # `load_victim` needs no checkout
    assert ("book", "_static") in names  # nor does a playground in a notebook
    assert not list(site.glob("bdlib/_book/results/**/*.ipynb"))
    home.mkdir()
    before = {*site.rglob("*")}
    done = run([sys.executable, "-B", "-c", FAR_FROM_HOME, str(site), *RUN], tmp_path / "elsewhere", HOME=str(home),
               PYTHONPATH=str(site))  # fmt: skip
    assert done.returncode == 2 and "it is part of the installed package; set BDLIB_RESULTS" in done.stderr, done.stderr
    assert {*site.rglob("*")} == before
    assert list(home.glob(".cache/bdlib/victims/*.safetensors"))
    assert list((tmp_path / "elsewhere").glob("bdlib-runs/smoke/nad/*.json"))


def test_snakemake_finds_its_way_where_the_path_has_blanks(tmp_path):
    copy = odd_copy(tmp_path, "bdlib", "notebooks", "results/reported", "Snakefile", "profiles", "book", "scripts",
                    "_config.yml", "zoo/manifest.csv", "results/cifar/rnp.ipynb")  # fmt: skip
    venv.create(copy / ".venv", symlinks=True)
    lines = "\n".join(path for path in sys.path if path.endswith("site-packages"))
    next(copy.glob(".venv/lib/*/site-packages")).joinpath("installed.pth").write_text(lines)
    python = copy / ".venv" / "bin" / "python"
    done = run([str(python), "-m", "snakemake", "-n", "-p", "--config", "profile=smoke", "--profile", "profiles/local",
                "book"], copy, PYTHONPATH=str(copy), HOME=str(tmp_path))  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = (done.stdout + done.stderr).splitlines()
    commands = [shlex.split(line) for line in said if "Shell command:" in line]
    assert len(commands) > 12 and {words[2] for words in commands} == {str(python), "None"}
    assert any(line.endswith(": chapter nad, smoke profile") for line in said)
    assert "cifar profile" not in "\n".join(said)  # that chapter is committed as it was run; nothing makes it anew
    assert [line for line in said if len(line) > 1000] == []  # a job is told in one line, not by hundreds of paths


def test_make_refuses_a_python_that_is_too_old_in_one_line(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    old = tmp_path / "old python"
    old.write_text(
        f'#!/bin/sh\nshift\nexec {shlex.quote(sys.executable)} -c "import sys; sys.version_info = (3, 10); $1"\n'
    )
    old.chmod(0o755)
    done = run(["make", "env", "PYTHON='./old python'"], tmp_path)
    assert done.returncode == 2 and not done.stdout and not (tmp_path / ".venv").exists()
    assert done.stderr.startswith("Python 3.11 or newer is needed, this is ") and len(done.stderr.splitlines()) == 2
