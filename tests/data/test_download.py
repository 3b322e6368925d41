"""Downloads from a server of the test's own, which breaks off, lies and is slow."""

import hashlib
import re
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest

from bdlib.data import _download, datasets
from bdlib.data._download import Archive, fetch
from bdlib.data._files import DataError
from bdlib.data.datasets import load_archives

CONTENT = np.random.default_rng(0).bytes(100_000)


class Server(BaseHTTPRequestHandler):
    """Gives CONTENT as the `plan` of its server says: an item a request, the last one for all that follow."""

    def do_GET(self):
        plan, asked = self.server.plan, re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        step = plan.pop(0) if len(plan) > 1 else plan[0]
        start = int(asked[1]) if asked and "no range" not in step else 0
        self.server.asked.append((step, start))
        if step.isdigit():
            return self.send_error(int(step))
        content = b"<html>log in</html>" if "wrong" in step else CONTENT
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if "no length" not in step:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        rest = content[start:][: 30_000 if "cut" in step else None]
        for piece in range(0, len(rest), 20_000):
            self.wfile.write(rest[piece : piece + 20_000])
            time.sleep(0.02 if "slow" in step else 0)
        if "stall" in step:
            time.sleep(1)

    def log_message(self, *words):
        """Say nothing."""


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setattr(_download, "WAITS", (0, 0, 0))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def start(*plan, content=CONTENT):
        server.plan, server.asked = list(plan), []
        server.archive = Archive(f"http://127.0.0.1:{server.server_port}/a.tar.gz", hashlib.md5(content).hexdigest(),
                                 hashlib.sha256(content).hexdigest())  # fmt: skip
        return server

    yield start
    server.shutdown()
    server.server_close()


GOOD = [
    ["fine"], ["slow"], ["no length"], ["503", "fine"], ["cut", "fine"], ["cut", "cut", "cut", "fine"],
    ["cut", "no range"], ["cut", "503", "429", "fine"], ["stall cut", "fine"], ["cut", "cut no range", "fine"],
]  # fmt: skip


@pytest.mark.parametrize("plan", GOOD, ids=", ".join)
def test_a_download_comes_whole_in_the_end(serve, tmp_path, plan, monkeypatch):
    monkeypatch.setattr(_download, "TIMEOUT", 0.3)
    server = serve(*plan)
    assert fetch(server.archive, tmp_path / "new") == CONTENT
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"a.tar.gz", "a.tar.gz.lock"}
    assert fetch(server.archive, tmp_path / "new") == CONTENT and len(server.asked) == len(plan)  # it is kept


def test_it_goes_on_where_it_broke_off(serve, tmp_path):
    server = serve("cut", "fine")
    fetch(server.archive, tmp_path)
    assert server.asked == [("cut", 0), ("fine", 30_000)]


@pytest.mark.parametrize("part", [b"", CONTENT[:70_000], CONTENT, CONTENT + b"more", b"of another" * 500])
def test_what_a_killed_download_left_is_used_or_thrown_away(serve, tmp_path, part):
    server = serve("fine")
    (tmp_path / "a.tar.gz.part").write_bytes(part)
    assert fetch(server.archive, tmp_path) == CONTENT and len(server.asked) <= 2


BAD = {"404": ("404", 1), "401": ("401", 1), "503": ("503", 4), "wrong": ("is not the archive", 1),
       "wrong no length": ("is not the archive", 1), "cut no range": ("connection broke", 4)}  # fmt: skip


@pytest.mark.parametrize("step", BAD)
def test_what_cannot_be_had_is_one_line_and_no_file(serve, tmp_path, step):
    server, (said, tries) = serve(step), BAD[step]
    with pytest.raises(DataError, match=said) as caught:
        fetch(server.archive, tmp_path)
    assert server.archive.url in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "a.tar.gz").exists() and len(server.asked) <= tries + 1
    assert (tmp_path / "a.tar.gz.part").exists() == ("cut" in step)


def test_a_kept_archive_that_was_altered_is_downloaded_anew(serve, tmp_path):
    server = serve("fine")
    fetch(server.archive, tmp_path)
    (tmp_path / "a.tar.gz").write_bytes(CONTENT[:-1] + b"x")
    with pytest.warns(UserWarning, match=r"a.tar.gz is not used .*MD5"):
        assert fetch(server.archive, tmp_path) == CONTENT


def test_both_sums_are_checked(serve, tmp_path):
    archive = serve("fine").archive
    with pytest.raises(DataError, match="SHA256"):
        fetch(Archive(archive.url, archive.md5, "0" * 64), tmp_path)
    with pytest.raises(DataError, match="MD5"):
        fetch(Archive(archive.url, "0" * 32, archive.sha256), tmp_path)


def test_missing_and_offline_is_one_error_with_both_remedies(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        archive = Archive(f"http://127.0.0.1:{free.getsockname()[1]}/a.zip", "0" * 32)
    monkeypatch.setattr(_download, "WAITS", (0,))
    monkeypatch.setitem(datasets.ARCHIVES, "tiny_imagenet", (archive,))
    monkeypatch.setenv("BDLIB_DOWNLOADS", str(tmp_path / "downloads"))
    monkeypatch.setenv("BDLIB_DATA", str(tmp_path))
    with pytest.raises(DataError, match=f"none in BDLIB_DATA={tmp_path}.*go online, or set BDLIB_DATA") as caught:
        load_archives("tiny_imagenet")
    assert "\n" not in str(caught.value)


def test_a_folder_that_takes_no_files_is_named(tmp_path, serve, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file/downloads: cannot keep a.tar.gz there"):
        fetch(serve("fine").archive, tmp_path / "file" / "downloads")


def test_a_full_disk_is_no_reason_to_try_again(serve, tmp_path, monkeypatch):
    server = serve("fine")

    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_download, "_copy", full)
    with pytest.raises(DataError, match="No space left on device"):
        fetch(server.archive, tmp_path)
    assert len(server.asked) == 1
