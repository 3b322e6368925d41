"""The device, the names of results, and facts about the machine."""

import functools
import hashlib
import os
import platform
import subprocess
from dataclasses import Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch

from bdlib.files import FileError
from bdlib.folders import ROOT


def _threads(text: str) -> int:
    """The number of threads that $BDLIB_THREADS asks for. Raises FileError for what is no such number."""
    if not (text.isdecimal() and 1 <= int(text) <= 256):
        raise FileError(f"BDLIB_THREADS={text!r}: must be a whole number from 1 to 256")
    return int(text)


def _precision(text: str) -> str:
    """The precision that $BDLIB_PRECISION asks for. Raises FileError for another word."""
    if text not in PRECISIONS:
        raise FileError(f"BDLIB_PRECISION={text!r}: must be one of {', '.join(PRECISIONS)}")
    return text


PRECISIONS = ("default", "float32", "bfloat16")
THREADS = _threads(os.environ.get("BDLIB_THREADS") or "2")
PRECISION = _precision(os.environ.get("BDLIB_PRECISION") or "default")


def best_device() -> torch.device:
    """A GPU if there is one, else the CPU, set up so that equal runs give equal numbers.

    On the CPU the number of threads decides the order of sums, and so the last bits of every weight. So this sets
    PyTorch's number of threads for the whole process: two, or what $BDLIB_THREADS says. No random generator changes.
    Several processes side by side are fastest with one thread each: the Snakefile says so for its jobs.
    """
    if torch.cuda.is_available():
        set_up_compiler()
        torch.backends.cudnn.deterministic = True
        return torch.device("cuda")
    torch.set_num_threads(THREADS)
    return torch.device("cpu")


def computes_in_half(device: torch.device) -> bool:
    """Whether losses are computed in bfloat16: by default on a GPU that has it, and on no CPU.

    $BDLIB_PRECISION decides it for both: `float32`, or `bfloat16`, which makes training about 1.8 times as fast on a
    CPU with matrix units for it (AMX), and slower on others.
    """
    if PRECISION == "default":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return PRECISION == "bfloat16"


@functools.cache
def set_up_compiler() -> None:
    """Let torch.compile keep one graph for each network and batch size, up to 64.

    By default a smaller last batch makes the compiler use a slower graph, which fits any size, for all batches. It
    also keeps eight graphs only, too few for a process that trains victims of several networks.
    """
    import torch._dynamo.config as dynamo  # takes a second, which only a GPU repays

    dynamo.automatic_dynamic_shapes = False
    dynamo.cache_size_limit = 64


def digest(*parts: object) -> str:
    """Eight hexadecimal digits that stand for the `repr` of all `parts`."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]


def settings_of(value: Any) -> Any:
    """The settings that name a result: those of a dataclass by field name, in the order of the names.

    A whole number equals the same float. A field made by `added_field` is left out at its default. Functions and
    networks have no settings: None.
    """
    if is_dataclass(value):
        held = {field.name: getattr(value, field.name) for field in fields(value) if not _at_default(value, field)}
        return {name: settings_of(held[name]) for name in sorted(held)}
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return None if callable(value) else value


def added_field(default: Any) -> Any:
    """A dataclass field for a setting that is added later: at `default` it changes no name of what was made before."""
    return field(default=default, metadata={"added_at": default})


@dataclass(frozen=True)
class AddedAt:
    """Marks a keyword that a method got later, `Annotated[..., AddedAt(value)]`: at `value` it names no new record.

    `value` is what the method did before it had the keyword.
    """

    value: Any


def _at_default(instance: Any, field: Field[Any]) -> bool:
    return "added_at" in field.metadata and getattr(instance, field.name) == field.metadata["added_at"]


def runtime_facts() -> dict[str, str]:
    """What a run was made with: commit, device, threads, precision, and the versions of PyTorch and Python."""
    on_gpu = torch.cuda.is_available()
    half = computes_in_half(torch.device("cuda" if on_gpu else "cpu"))
    return {
        "commit": commit(),
        "device": torch.cuda.get_device_name() if on_gpu else processor(),
        "threads": str(torch.get_num_threads()),
        "precision": "bfloat16" if half else "float32",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def commit() -> str:
    """The checked-out commit, followed by `+changes` when a tracked file of bdlib differs from it.

    In a copy that has no Git, such as one sent to another machine, $BDLIB_COMMIT names it.
    """
    if named := os.environ.get("BDLIB_COMMIT"):
        return named
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + ("+changes" if _git("status", "--porcelain", "--untracked-files=no", "bdlib") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def processor() -> str:
    """The name of the processor, from Linux where possible."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
