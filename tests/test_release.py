"""A release: of a clean commit alone, the same bytes each time, with sums that tell a changed file."""

import importlib
import io
import subprocess
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMED = ["-c", "user.name=A. Author", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
BUILT = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "bdlib"
version = "1.2.3"
requires-python = ">=3.11"

[tool.hatch.build.targets.wheel]
only-include = ["bdlib", "zoo"]
"""


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("release")


def git(folder, *words):
    subprocess.run(["git", *NAMED, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    """A commit of a package as small as can be, with two records and a zoo."""
    folder = tmp_path / "chëck out"
    content = {"pyproject.toml": BUILT, "CITATION.cff": "title: x\nversion: 1.2.3\n", "bdlib/__init__.py": "",
               "results/quick/nad/b.json": "{}", "results/quick/nad/a.json": "[]", "zoo/manifest.csv": "file\n",
               ".gitignore": "dist/\n"}  # fmt: skip
    for name, text in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_the_same_commit_gives_the_same_bytes_and_its_sums_are_right(script, checkout, tmp_path):
    paths = script.release(checkout, checkout / "dist")
    names = {path.name: path.read_bytes() for path in paths}
    assert set(names) == {"bdlib-1.2.3.tar.gz", "bdlib-1.2.3-py3-none-any.whl", "bdlib-1.2.3-records.tar.gz",
                          "bdlib-1.2.3-zoo-manifest.csv", "SHA256SUMS"}  # fmt: skip
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(checkout), str(clone))
    for path in clone.rglob("*.json"):
        path.chmod(0o600)  # as another's umask would have it
    (clone / "dist").mkdir()
    (clone / "dist" / "stale.whl").write_text("of an earlier version")
    assert {path.name: path.read_bytes() for path in script.release(clone, clone / "dist")} == names
    assert not (clone / "dist" / "stale.whl").exists()
    lines = dict(reversed(line.split("  ")) for line in names.pop("SHA256SUMS").decode().splitlines())
    assert lines == {name: sha256(content).hexdigest() for name, content in names.items()}


def test_the_archive_holds_the_records_as_committed(script, checkout):
    packed = script.archive(checkout, "bdlib-1.2.3-records/", "results")
    (checkout / "results" / "quick" / "nad" / "c.json").write_text("not committed")
    assert script.archive(checkout, "bdlib-1.2.3-records/", "results") == packed
    with tarfile.open(fileobj=io.BytesIO(packed)) as opened:
        files = {member.name: opened.extractfile(member).read() for member in opened if member.isfile()}
    assert files == {"bdlib-1.2.3-records/results/quick/nad/a.json": b"[]",
                     "bdlib-1.2.3-records/results/quick/nad/b.json": b"{}"}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "committed", "words"),
    [
        ("bdlib/__init__.py", "changed = 1", False, "bdlib/__init__.py: not as committed"),
        ("bdlib/new.py", "", False, "bdlib/new.py: not as committed"),
        ("CITATION.cff", "version: 1.2.2\n", True, "CITATION.cff: version: 1.2.2: must be 1.2.3"),
        ("CITATION.cff", "title: x\n", True, "CITATION.cff: version: none: must be 1.2.3"),
    ],
)
def test_what_cannot_be_released_is_one_line_and_leaves_dist_alone(script, checkout, name, text, committed, words):
    (checkout / "dist").mkdir()
    (checkout / "dist" / "kept").write_text("of an earlier version")
    (checkout / name).write_text(text)
    if committed:
        git(checkout, "commit", "-aqm", "second")
    with pytest.raises(script.ReleaseError) as raised:
        script.release(checkout, checkout / "dist")
    assert str(raised.value).startswith(words) and "\n" not in str(raised.value)
    assert (checkout / "dist" / "kept").exists()


def test_without_a_commit_it_says_so(script, tmp_path):
    with pytest.raises(script.ReleaseError, match="git status: .*not a git repository"):
        script.check_clean(tmp_path)


def test_this_books_versions_agree(script):
    assert script.version(ROOT)
