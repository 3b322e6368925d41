"""Where things lie, how they are written, and what made them."""

import ast
import functools
import hashlib
import inspect
import os
import platform
import subprocess
from dataclasses import Field, field, fields, is_dataclass
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import torch

ROOT = Path(__file__).parents[1]  # the repository: bdlib is installed in place
RESULTS = Path(os.environ.get("BDLIB_RESULTS", ROOT / "results"))
CACHE = Path(os.environ.get("BDLIB_CACHE", ROOT / "build" / "cache"))
THREADS = int(os.environ.get("BDLIB_THREADS", "2"))


def best_device() -> torch.device:
    """A GPU where there is one, else the CPU; either way set up to give the same numbers every time.

    On the CPU the order of sums, and so the last bits of every weight, follow the number of threads: it is fixed at
    two, or at $BDLIB_THREADS.
    """
    if torch.cuda.is_available():
        set_up_compiler()
        torch.backends.cudnn.deterministic = True
        return torch.device("cuda")
    torch.set_num_threads(THREADS)
    return torch.device("cpu")


@functools.cache
def set_up_compiler() -> None:
    """Let torch.compile keep a graph for each network and batch size.

    An epoch's last batch is smaller; by default it would have all others run through a slower graph of any size. And
    the eight graphs that are kept by default are few for a process that trains victims of several networks.
    """
    import torch._dynamo.config as dynamo  # takes a second, which only a GPU repays

    dynamo.automatic_dynamic_shapes = False
    dynamo.cache_size_limit = 64


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all: a reader never meets a half-written one. Returns `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def digest(*parts: object) -> str:
    """Eight hexadecimal digits that stand for the `repr` of everything given."""
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


def _at_default(instance: Any, field: Field[Any]) -> bool:
    return "added_at" in field.metadata and getattr(instance, field.name) == field.metadata["added_at"]


def code_digest(*sources: Path | ModuleType | FunctionType | type | Any) -> str:
    """As `digest`, for source code (files or objects): blind to comments, docstrings and layout, to nothing else."""
    texts = [source.read_text() if isinstance(source, Path) else inspect.getsource(source) for source in sources]
    return digest(*map(bare, texts))


@functools.cache
def bare(text: str) -> str:
    """Source code without comments and docstrings, in a layout of its own; worked out once for each text."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and is_docstring(body[0]):
            node.body = body[1:] or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.unparse(tree)


def imported(module: str) -> list[Path]:
    """The source file of a bdlib module, and of every bdlib module that it imports, directly or not."""
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        specification = find_spec(name)
        if name in found or specification is None or specification.origin is None:
            continue
        found[name] = Path(specification.origin)
        nodes = [node for node in ast.walk(ast.parse(found[name].read_text())) if isinstance(node, ast.ImportFrom)]
        waiting += [node.module for node in nodes if node.module and node.module.startswith("bdlib.")]
    return [found[name] for name in sorted(found)]


def is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def runtime_facts() -> dict[str, str]:
    """What a run was made with: commit (marked when files differ from it), device and versions."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else processor()
    return {
        "commit": commit(),
        "device": device,
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def commit() -> str:
    """The checked-out commit, followed by `+changes` when a tracked file of bdlib differs from it."""
    try:
        head = git("rev-parse", "--short=12", "HEAD")
        return head + ("+changes" if git("status", "--porcelain", "--untracked-files=no", "bdlib") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def processor() -> str:
    """The processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
