"""Make what is archived of a version: packages, records, the zoo's manifest and checksums, all of one commit.

    python scripts/release.py        # or: make release

Everything is made from the commit's own files, in a folder outside the checkout, with the commit's time as every file's
time. So the same commit gives the same bytes, with the same versions of Python, zlib and hatchling.
"""

import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from hashlib import sha256
from pathlib import Path

from bdlib.files import FileError, read_text, write_whole
from bdlib.words import OneLineError

ROOT = Path(__file__).parents[1]
SUMS = "SHA256SUMS"


class ReleaseError(OneLineError, RuntimeError):
    """Nothing is released. The message is one line that says why."""


def git(root: Path, *words: str) -> bytes:
    """What a command of Git prints. Raises ReleaseError, with Git's own last line, where it fails."""
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True)
    except FileNotFoundError:
        raise ReleaseError("git: it is not installed; a release is made of a commit") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it failed"]
        raise ReleaseError(f"git {words[0]}: {said[-1]}")
    return done.stdout


def check_clean(root: Path) -> None:
    """Raise ReleaseError where the checkout differs from its commit."""
    if changed := git(root, "status", "--porcelain").decode(errors="replace").splitlines():
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise ReleaseError(f"{changed[0][3:]}{more}: not as committed; a release is made of a commit alone")


def version(root: Path) -> str:
    """The version in pyproject.toml. Raises ReleaseError where CITATION.cff says another, FileError for no file."""
    ours = str(tomllib.loads(read_text(root / "pyproject.toml"))["project"]["version"])
    cited = re.search(r"^version: *(\S+)$", read_text(root / "CITATION.cff"), re.MULTILINE)
    if cited is None or cited[1] != ours:
        named = cited[1] if cited else "none"
        raise ReleaseError(f"CITATION.cff: version: {named}: must be {ours}, as in pyproject.toml")
    return ours


def archive(root: Path, prefix: str, *paths: str) -> bytes:
    """The commit's files under `paths` as .tar.gz, each below `prefix`; equal commits give equal bytes.

    Example: ``archive(ROOT, "bdlib-0.1.0/", "results")``
    """
    return gzip.compress(git(root, "archive", "--format=tar", f"--prefix={prefix}", "HEAD", *paths), mtime=0)


def packages(root: Path, folder: Path) -> dict[str, bytes]:
    """The source distribution and the wheel by their names, built by hatchling in `folder` from the commit's files."""
    source, out = folder / "source", folder / "out"
    with tempfile.NamedTemporaryFile(suffix=".tar", dir=folder) as packed:
        packed.write(git(root, "archive", "--format=tar", "HEAD"))
        packed.flush()
        shutil.unpack_archive(packed.name, source, filter="data")
    seconds = git(root, "log", "-1", "--format=%ct").decode().strip()
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-t", "wheel", "-d", str(out)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True,
                          env=os.environ | {"SOURCE_DATE_EPOCH": seconds})  # fmt: skip
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it failed"]
        raise ReleaseError(f"hatchling: {said[-1]}")
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def checksums(files: dict[str, bytes]) -> bytes:
    """A line for each file, as `sha256sum -c` reads them."""
    return "".join(f"{sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)).encode()


def release(root: Path, out: Path) -> list[Path]:
    """Write a release of the commit that is checked out in `root` into `out`, emptied first; returns the files.

    Raises ReleaseError and FileError, in one line, before `out` is touched.
    """
    check_clean(root)
    name = f"bdlib-{version(root)}"
    with tempfile.TemporaryDirectory() as folder:
        files = packages(root, Path(folder))
    files[f"{name}-records.tar.gz"] = archive(root, f"{name}-records/", "results")
    files[f"{name}-zoo-manifest.csv"] = git(root, "show", "HEAD:zoo/manifest.csv")
    files[SUMS] = checksums(files)
    shutil.rmtree(out, ignore_errors=True)
    return [write_whole(out / each, content) for each, content in files.items()]


def main() -> int:
    try:
        for path in release(ROOT, ROOT / "dist"):
            print(f"{path.stat().st_size / 1e6:8.1f} MB  {path.relative_to(ROOT)}")
    except (ReleaseError, FileError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
