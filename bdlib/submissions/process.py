"""The stranger's process as this one sees it: started afresh, watched, asked, ended with all that it has started."""

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psutil
from torch import Tensor

from bdlib.folders import PACKAGE
from bdlib.submissions.limits import Limits, SubmissionError, forbidden_folders
from bdlib.submissions.messages import Message, MessageError, read_message, write_message

START_SECONDS = 300.0  # to load PyTorch on a busy machine; no part of the stranger's time
BEGIN = "import sys; sys.path[:] = [*dict.fromkeys([sys.path[0], sys.argv[1], *sys.path[1:]])]; " \
        "from bdlib.submissions.child import main; main()"  # fmt: skip
KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS",
        "BDLIB_THREADS", "BDLIB_PRECISION")  # fmt: skip
MARK = "BDLIB_SUBMISSION"  # the variable by which all processes of one run are found
OWN_LINES = 200  # lines of what it prints that are shown
SMALL = 100_000  # bytes of tensors in a message that should hold none


class Session:
    """A running process; made by `isolated`."""

    def __init__(self, folder: str, limits: Limits, on_line: Callable[[str], None]) -> None:
        self.limits, self.on_line, self.peak_bytes, self.most = limits, on_line, 0, SMALL
        self.token, self.messages = uuid.uuid4().hex, queue.Queue[Message | Exception | None]()
        settings = {name: os.environ[name] for name in KEPT if name in os.environ}
        settings |= {"HOME": folder, "TMPDIR": folder, "XDG_CACHE_HOME": folder, MARK: self.token,
                     "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-c", BEGIN, str(PACKAGE.parent)], cwd=folder, env=settings, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self.seen = psutil.Process(self.process.pid)
        self.readers = [threading.Thread(target=task, daemon=True) for task in (self._read, self._show)]
        for reader in self.readers:
            reader.start()

    def send(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None, most: int = SMALL) -> None:
        """Send a message; the answer may have tensors of `most` bytes. It does not wait for the other to read."""
        self.most = most
        threading.Thread(target=self._write, args=(dict(facts), dict(tensors or {})), daemon=True).start()

    def receive(
        self, kinds: tuple[str, ...], seconds: float, doing: str, tell: Callable[[str], None] = print
    ) -> Message:
        """The next message, which is of one of the `kinds`. Lines of progress are told on the way.

        Raises SubmissionError for a process that fails, ends, takes too long (it was `doing` something) or too much.
        """
        end, checked = time.monotonic() + seconds, 0.0
        while True:
            try:
                message = self.messages.get(timeout=0.05)
            except queue.Empty:
                message = Message({"is": "progress"}, {})
            if message is None:
                raise SubmissionError(self._how_it_ended())
            if isinstance(message, Exception):
                raise SubmissionError(f"what it sent is no answer: {message}")
            if (kind := message.facts["is"]) == "failed":
                raise SubmissionError(str(message.facts.get("why"))[:500])
            if kind in kinds:
                return message
            if kind != "progress":
                raise SubmissionError(f"what it sent is no answer: {kind[:50]!r}")
            if "why" in message.facts:
                tell(str(message.facts["why"])[:200])
            checked = self._check_memory(checked)
            if time.monotonic() > end:
                raise SubmissionError(f"time limit: {doing} took more than {seconds:g} s")

    def _check_memory(self, checked: float) -> float:
        """When all processes were counted last, which is done once a second; else the first one alone."""
        with suppress(psutil.Error):
            held, now = self.seen.memory_info().rss, time.monotonic()
            others = self.seen.children(recursive=True) if now > checked + 1 else []
            for other in others:
                with suppress(psutil.Error):
                    held += other.memory_info().rss
            self.peak_bytes = max(self.peak_bytes, held)
            if held > self.limits.gigabytes * 1e9:
                limit = f"more than {self.limits.gigabytes:g}"
                raise SubmissionError(f"memory limit: it held {held / 1e9:.1f} GB, {limit}")
            return now if now > checked + 1 else checked
        return checked

    def _how_it_ended(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            status = self.process.wait(timeout=5)
            if status < 0:
                return f"its process was ended by signal {-status} ({signal.Signals(-status).name})"
            return f"its process ended with status {status} and no result"
        return "it closed its streams and gave no result"

    def _write(self, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        assert self.process.stdin
        with suppress(OSError, ValueError):  # it has ended; the reader says so
            write_message(self.process.stdin, facts, tensors)

    def _read(self) -> None:
        assert self.process.stdout
        try:
            while message := read_message(self.process.stdout, lambda: self.most):
                self.messages.put(message)
        except (MessageError, OSError, ValueError) as error:
            self.messages.put(error)
        self.messages.put(None)

    def _show(self) -> None:
        """Hand on what it prints, line by line, up to `OWN_LINES`; the rest is read and dropped."""
        assert self.process.stderr
        with suppress(OSError, ValueError):
            for number, line in enumerate(iter(lambda: self.process.stderr.readline(10_000), b"")):  # type: ignore[union-attr]
                if number < OWN_LINES:
                    self.on_line(line.decode(errors="replace").rstrip()[:500])

    def end(self) -> None:
        """End the process and all that it has started, also those that left its group."""
        for _ in range(5):
            found = [self.seen, *_marked(self.token)]
            with suppress(OSError, AttributeError):
                os.killpg(self.process.pid, signal.SIGKILL)
            for process in found:
                with suppress(psutil.Error):
                    process.kill()
            if len(found) == 1:
                break
        self.process.wait()
        for reader in self.readers:
            reader.join(timeout=2)  # the last lines that it printed
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            with suppress(OSError):
                stream.close()  # type: ignore[union-attr]


def _marked(token: str) -> list[psutil.Process]:
    """The living processes whose environment holds the token."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == token and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@contextmanager
def isolated(
    job: Mapping[str, Any], tensors: Mapping[str, Tensor], limits: Limits, on_line: Callable[[str], None],
    forbidden: tuple[str, ...] = (),
) -> Iterator[Session]:  # fmt: skip
    """A process that has been handed its job, in an empty folder; it is ended after the block. `on_line` is told what
    it prints. Raises SubmissionError where it does not start.

    Example::

        with isolated(job, tensors, Limits(seconds=60), print) as session:
            session.receive(("done",), 60, "purify")
    """
    with tempfile.TemporaryDirectory(prefix="bdlib-", ignore_cleanup_errors=True) as folder:
        session = Session(folder, limits, on_line)
        try:
            places = {"forbidden": [*forbidden_folders(), *forbidden],
                      "allowed": [sys.prefix, sys.base_prefix, str(PACKAGE)]}  # fmt: skip
            session.send({"is": "job", **job, **places, "memory_bytes": int(limits.gigabytes * 1e9)}, tensors)
            session.receive(("ready",), START_SECONDS, "loading PyTorch")
            yield session
        finally:
            session.end()
