"""The process in which a stranger's code runs. It is told its job in a message, does it, and answers questions.

What it is handed is what a defender has: a network, clean images. Triggers, test labels, target and scores are in the
other process. What the stranger's function returns stays here, so that nothing has to be unpickled there.
"""

import importlib.util
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from bdlib.submissions import guard, landlock
from bdlib.submissions.job import Refusal
from bdlib.submissions.jobs import JOBS
from bdlib.submissions.messages import Stream, read_message, write_message

with suppress(ImportError):  # not on Windows
    import resource

LONGEST = 300  # characters of what an error says


def main() -> None:
    """Do the job that comes on standard input, until that ends."""
    asked, answers = _channels()
    message = read_message(asked)
    if message is None:
        return
    facts, tensors = message
    _limit_files(facts["memory_bytes"])

    def refuse(words: str) -> NoReturn:
        write_message(answers, {"is": "failed", "why": words})
        os._exit(1)

    place = Path(facts["path"])
    job = JOBS[facts["kind"]](facts, tensors, lambda words: write_message(answers, {"is": "progress", "why": words}))
    own = [os.getcwd(), str(place.parent), str(place)]
    kept = landlock.restrict(facts["forbidden"], own[:1], own)
    guard.install(facts["kind"], facts["forbidden"], [*facts["allowed"], *own], refuse)
    write_message(answers, {"is": "ready", "landlock": kept})
    try:
        told = job.begin(_loaded(place), facts["function"])
        write_message(answers, {"is": "done", **told})
        while (question := read_message(asked)) is not None:
            answer = job.answer(question)
            write_message(answers, *answer)
    except BaseException as error:  # of the stranger's code, SystemExit and KeyboardInterrupt among them
        refuse(in_words(error, place, facts["function"]))
    os._exit(0)  # threads of the stranger's need not agree


def in_words(error: BaseException, place: Path, function: str) -> str:
    """What happened, in one line that names the place in the stranger's file."""
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == place]
    where = f" ({place.name}, line {lines[-1].lineno})" if lines else ""
    said = " ".join(str(error).split())[:LONGEST]
    if isinstance(error, Refusal):
        return f"{function} {said}"
    if isinstance(error, SystemExit):
        return f"it called sys.exit({said}){where}"
    if isinstance(error, MemoryError):
        return f"there was no memory left{where}"
    if isinstance(error, SyntaxError):
        where = f" ({place.name}, line {error.lineno})"
    return f"{type(error).__name__}: {said}{where}" if said else f"{type(error).__name__}{where}"


def _channels() -> tuple[Stream, Stream]:
    """The streams of messages. What is printed from now on goes to standard error, and standard input is empty."""
    asked, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return asked, answers


def _limit_files(most: int) -> None:
    """No file of this process becomes larger than `most` bytes, and a crash leaves no memory on disk."""
    if "resource" in globals():
        for kind, value in ((resource.RLIMIT_FSIZE, most), (resource.RLIMIT_CORE, 0)):
            with suppress(ValueError, OSError):
                resource.setrlimit(kind, (value, value))


def _loaded(place: Path) -> ModuleType:
    """The stranger's file as a module; it finds the files beside it."""
    sys.path.insert(1, str(place.parent))
    spec = importlib.util.spec_from_file_location(place.stem, place)
    if spec is None or spec.loader is None:
        raise Refusal("is in no file of Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[place.stem] = module
    spec.loader.exec_module(module)
    return module
