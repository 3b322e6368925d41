"""Archives from their authors' pages: downloaded with a progress bar, continued after a break, verified, kept.

Only what has the published checksum is ever read. An archive stays one file; its members are read in memory.
"""

import errno
import hashlib
import io
import time
import urllib.error
import urllib.request
import warnings
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

from bdlib.data._files import DataError, in_one_line
from bdlib.folders import folder_of, user_folder
from bdlib.words import one_line

WAITS = (1.0, 2.0, 5.0)  # seconds before each new try; a try that brought bytes starts the list again
TIMEOUT = 30.0  # seconds without a byte
CHUNK = 1 << 18  # bytes
FINAL = {400, 401, 403, 404, 405, 410, 451}  # HTTP answers that no new try changes
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG, errno.ENOTDIR,
           errno.EEXIST, errno.EISDIR}  # fmt: skip


@dataclass(frozen=True)
class Archive:
    """Where an archive is, and the checksums that it must have; `sha256` is empty where nobody has published it."""

    url: str
    md5: str
    sha256: str = ""

    @property
    def name(self) -> str:
        """The name of its file."""
        return self.url.rpartition("/")[2]


def fetch(archive: Archive, folder: Path) -> bytes:
    """The content of an archive: from `folder` where it is there and verified, else downloaded into it.

    Several processes that want it download it once. Raises DataError, in one line, where that cannot be done.
    """
    path = folder / archive.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{archive.name}.lock"):
            if path.is_file():
                if not (wrong := _wrong(content := path.read_bytes(), archive)):
                    return content
                line = f"{path} is not used ({wrong}); it is removed and downloaded anew"
                warnings.warn(one_line(line), stacklevel=3)
                path.unlink()
            content = _download(archive, path.with_name(f"{archive.name}.part"))
            path.with_name(f"{archive.name}.part").replace(path)
            return content
    except OSError as error:
        raise DataError(f"{folder}: cannot keep {archive.name} there ({in_one_line(error)})") from error


def _download(archive: Archive, part: Path) -> bytes:
    """The verified content of an archive, which is then in the file `part`."""
    waits, continued = list(WAITS), part.is_file() and part.stat().st_size > 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        try:
            _get(archive, part)
        except (OSError, HTTPException, ValueError) as error:  # ValueError: a header that is no number
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            if getattr(error, "errno", None) in NO_ROOM and not isinstance(error, urllib.error.URLError):
                raise
            if getattr(error, "code", None) == 416:  # what is here is no beginning of the archive: from zero
                part.unlink(missing_ok=True)
            if part.is_file() and part.stat().st_size > before:
                waits = list(WAITS)
            if getattr(error, "code", None) in FINAL or not waits:
                raise DataError(f"{archive.url}: {in_one_line(error)}") from error
            time.sleep(waits.pop(0))
            continued = continued or part.is_file()
            continue
        if not (wrong := _wrong(content := part.read_bytes(), archive)):
            return content
        part.unlink()
        if not continued:
            raise DataError(f"{archive.url}: what came is not the archive ({wrong}); it is removed")
        continued = False  # its beginning was from an earlier try: once more, whole


def _get(archive: Archive, part: Path) -> None:
    """Append to `part` what it lacks of the archive; anew where the server cannot continue. OSError if it breaks."""
    start = part.stat().st_size if part.is_file() else 0
    asked = {"Range": f"bytes={start}-"} if start else {}
    request = urllib.request.Request(
        archive.url, headers={"User-Agent": "bdlib", "Accept-Encoding": "identity"} | asked
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        if answer.status != 206 or not str(answer.headers["Content-Range"]).startswith(f"bytes {start}-"):
            start = 0
        length = int(answer.headers["Content-Length"] or 0)
        with part.open("ab" if start else "wb", buffering=0) as file:
            came = _copy(answer, file, archive.name, start, length)
    if came < length:
        raise ConnectionError(f"the connection broke after {start + came:,} of {start + length:,} bytes")


def _copy(answer: HTTPResponse, file: io.RawIOBase, name: str, start: int, length: int) -> int:
    """Write what comes to `file`, with a bar; the number of bytes that came."""
    came = 0
    with tqdm(desc=name, initial=start, total=start + length or None, unit="B", unit_scale=True) as bar:
        while chunk := answer.read1(CHUNK):
            file.write(chunk)
            came += len(chunk)
            bar.update(len(chunk))
    return came


def _wrong(content: bytes, archive: Archive) -> str:
    """What of the content's checksums is wrong; nothing where all are right."""
    for kind, known in (("md5", archive.md5), ("sha256", archive.sha256)):
        actual = hashlib.new(kind, content, usedforsecurity=False).hexdigest()
        if known and actual != known:
            return f"{len(content):,} bytes of {kind.upper()} {actual[:12]}..., not {known[:12]}..."
    return ""


def downloads_folder() -> Path:
    """Where downloads are kept: $BDLIB_DOWNLOADS, or else the user's cache folder."""
    return folder_of("BDLIB_DOWNLOADS", user_folder())
