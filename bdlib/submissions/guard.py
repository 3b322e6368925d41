"""What a stranger's code may not do: look into folders of data and results, import what sees the attack, leave.

An audit hook cannot be removed, and it ends the process, so that no `except` hides what was tried. It sees what Python
opens, not what a library opens in C, and is no sandbox: it finds mistakes and ordinary cheating.
"""

import os
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn

FILES = ("open", "os.listdir", "os.scandir", "os.chdir", "os.symlink", "os.link", "os.rename", "os.remove", "os.rmdir",
         "shutil.copyfile", "shutil.copytree", "shutil.move", "shutil.rmtree", "sqlite3.connect")  # fmt: skip
PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "pty.spawn")
UNSEEN = {  # modules that no stranger's code of this kind may import
    "defense": ("attacks", "evaluation", "mechanisms", "experiments", "claims", "report", "cli", "data.datasets"),
    "attack": ("mechanisms", "experiments", "claims", "report", "cli"),
    "network": ("attacks", "evaluation", "mechanisms", "experiments", "claims", "report", "cli"),
}


def install(kind: str, forbidden: Sequence[str], allowed: Sequence[str], refuse: Callable[[str], NoReturn]) -> None:
    """From now on `refuse` is called, with a line, for what this process tries and may not.

    `forbidden` and `allowed` are folders; of two that hold a path the inner one decides.

    Example: `install("defense", ["/data"], ["/data/work"], refuse)`
    """
    modules = tuple(f"bdlib.{name}" for name in UNSEEN[kind])
    folders = {os.path.realpath(folder): True for folder in forbidden}
    folders |= {os.path.realpath(folder): False for folder in allowed}
    inside: set[int] = set()  # threads that are in the hook

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in WATCHED or (thread := threading.get_ident()) in inside:
            return
        inside.add(thread)
        try:
            if words := _refused(event, arguments, modules, folders):
                refuse(words)
        finally:
            inside.discard(thread)

    sys.addaudithook(hook)


WATCHED = frozenset((*FILES, *PROGRAMS, "import", "socket.connect", "os.kill", "os.killpg"))


def _refused(event: str, arguments: tuple[Any, ...], modules: tuple[str, ...], folders: dict[str, bool]) -> str:
    """What may not be, in words; "" where it may."""
    if event == "import":
        name = str(arguments[0])
        inside = any(name == module or name.startswith(f"{module}.") for module in modules)
        return f"looked for the module {name}: not allowed" if inside else ""
    if event in PROGRAMS:
        return f"tried to start the program {arguments[0]!s:.80}: not allowed"
    if event == "socket.connect":
        return f"looked for the network, {arguments[1]!s:.80}: not allowed" if isinstance(arguments[1], tuple) else ""
    if event in ("os.kill", "os.killpg"):
        return "" if arguments[0] == os.getpid() else f"tried to signal the process {arguments[0]}: not allowed"
    paths = [path for path in arguments[:2] if isinstance(path, str | bytes | os.PathLike)]
    found = next((path for path in map(os.fsdecode, paths) if _is_forbidden(path, folders)), None)
    return f"looked for {found}: not allowed" if found is not None else ""


def _is_forbidden(path: str, folders: dict[str, bool]) -> bool:
    """Whether the innermost of `folders` that holds a path is a forbidden one; so is another process in /proc."""
    try:
        real = os.path.realpath(path)
    except (OSError, ValueError):
        return False
    if real.startswith("/proc/") and (number := real.split("/")[2]).isdecimal():
        return int(number) != os.getpid()
    holding: Collection[str] = [folder for folder in folders if real == folder or real.startswith(folder + os.sep)]
    return bool(holding) and folders[max(holding, key=len)]
